# The program in a small image: non-root, and nothing but /project/data is written to.
#   docker build -t perennial .
#   docker run --read-only --tmpfs /tmp -v "$PWD/my-shop:/project:ro" -v perennial-data:/project/data perennial serve
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The dependencies first, so that a change of our own code does not build them again.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests && echo 'fn main() {}' > src/main.rs && touch src/lib.rs tests/main.rs && cargo build --locked --profile dist
COPY . .
RUN touch src/main.rs src/lib.rs && cargo build --locked --profile dist

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/dist/perennial /usr/local/bin/perennial
# The practice project, so that the image shows something at once; mount your own over it.
COPY --chown=nonroot:nonroot config /project/config
COPY --chown=nonroot:nonroot jobs /project/jobs
COPY --chown=nonroot:nonroot sql /project/sql
WORKDIR /project
VOLUME /project/data
ENV PERENNIAL_PROJECT=/project
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/perennial"]
CMD ["serve"]
