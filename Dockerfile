# The program in a small image: non-root, and nothing but /project/data is written to.
#   docker build -t perennial .
#   docker run perennial run nightly          shows the practice shop, which lies in /practice
# Your own project is an image of your own, FROM perennial: docs/ops.md, "Container".
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc make && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The dependencies first, so that a change of our own code does not build them again. Every target the manifest names must be there.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
RUN mkdir -p src tests benches \
    && echo 'fn main() {}' | tee src/main.rs tests/main.rs > benches/figures.rs \
    && touch src/lib.rs \
    && cargo build --locked --profile dist
COPY . .
RUN touch src/main.rs src/lib.rs && cargo build --locked --profile dist
# The image below has no shell to make folders with. 65532 is its user `nonroot`.
RUN mkdir -p /skeleton/project/data /skeleton/practice/data \
    && cp -r config jobs sql /skeleton/practice/ \
    && chown -R 65532:65532 /skeleton

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/dist/perennial /usr/local/bin/perennial
COPY --from=build --chown=65532:65532 /skeleton/ /
WORKDIR /practice
VOLUME /project/data /practice/data
# From inside a container 127.0.0.1 answers nobody.
ENV PERENNIAL__SERVER__ADDRESS=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/perennial"]
CMD ["serve"]
