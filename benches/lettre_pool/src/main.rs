//! Personal letters by lettre's pooled transport, as a careful user of it would send them: each is built as its turn comes, and as many are
//! under way as there are connections. Says nothing unless it fails. Usage: lettre_pool PORT LETTERS BYTES CONNECTIONS

use std::{
    env,
    error::Error,
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, MultiPart},
    transport::smtp::PoolConfig,
};
use tokio::task::{JoinSet, yield_now};

type Failure = Box<dyn Error + Send + Sync>;

const NAMES: [&str; 8] = ["Zoë", "Jürgen", "Anne-Marie", "O'Neil", "Łukasz", "Mehmet", "Sofía", "Chloé"];

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let asked = env::args().skip(1).map(|word| word.parse()).collect::<Result<Vec<u32>, _>>()?;
    let &[port, letters, bytes, connections] = &asked[..] else {
        return Err("usage: lettre_pool PORT LETTERS BYTES CONNECTIONS".into());
    };
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(port.try_into()?)
        .pool_config(PoolConfig::new().max_size(connections))
        .build();
    let (next, letters, bytes) = (Arc::new(AtomicUsize::new(0)), usize::try_from(letters)?, usize::try_from(bytes)?);
    let mut workers = JoinSet::<Result<(), Failure>>::new();
    for _ in 0..connections {
        let (transport, next) = (transport.clone(), Arc::clone(&next));
        workers.spawn(async move {
            loop {
                let person = next.fetch_add(1, Ordering::Relaxed);
                if person >= letters {
                    return Ok(());
                }
                transport.send(letter(person, bytes)?).await?;
                // A task gives the connection back to the pool; without its turn the next letter would open another.
                yield_now().await;
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    transport.shutdown().await;
    Ok(())
}

/// A letter of about so many bytes in all, as `email.html` and `email.txt` of the script's campaign make it.
fn letter(person: usize, bytes: usize) -> Result<Message, Failure> {
    let (first, last) = (NAMES[person % NAMES.len()], person % 70_000);
    let mut html = format!("<!doctype html><html lang=\"en\"><head><title>For {first}</title></head><body>\n");
    while html.len() + 1_100 < bytes {
        writeln!(html, "<p>Dear {first}, the tea you liked is back, and so is the kettle. We kept one for {first} Last{last}.</p>")?;
    }
    html.push_str("<p><a href=\"https://fernwood.example/stop\">No more of these</a>, Fernwood, 1 Mill Lane, Ashby</p></body></html>\n");
    let text = format!("Dear {first},\n\nthe tea you liked is back.\n\nFernwood, 1 Mill Lane, Ashby\nhttps://fernwood.example/stop\n");
    Ok(Message::builder()
        .from("Fernwood <hello@fernwood.example>".parse()?)
        .to(Mailbox::new(Some(format!("{first} Last{last}")), format!("person{person}@example.org").parse()?))
        .subject(format!("For {first}"))
        .multipart(MultiPart::alternative_plain_html(text, html))?)
}
