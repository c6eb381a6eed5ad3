//! The descriptions that ship against fakes that keep their APIs' rules, and calls against a server that keeps none.

mod fakes;
mod phases;
mod server;
mod shipped;
mod wrong;

use std::{collections::BTreeMap, io, net::SocketAddr, path::Path, sync::Arc};

use chrono::{DateTime, Utc};

use tokio_util::sync::CancellationToken;

use super::{
    answer::Heard,
    call::Caller,
    check::Api,
    request::{Content, Outgoing},
};
use crate::{
    clock::ManualClock,
    delivery::guard::{Guard, Lookup},
};

/// When all of it happens.
fn now() -> DateTime<Utc> {
    "2026-11-22T07:00:00Z".parse().unwrap()
}

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A description that is in order.
fn api(text: &str, given: &[(&str, &str)]) -> Api {
    Api::read(text, Path::new("x.toml"), &values(given)).unwrap_or_else(|found| panic!("{found:#?}"))
}

/// All names lead to `address`; whether that may be is for the guard to say.
fn leading_to(address: SocketAddr) -> Lookup {
    Arc::new(move |_| Box::pin(async move { io::Result::Ok(vec![address]) }))
}

/// A caller whose calls all end at `address`.
fn caller(text: &str, given: &[(&str, &str)], address: SocketAddr, root: &Path) -> Caller {
    let api = api(text, given);
    let guard = Guard::with_lookup(&api.description.allow, leading_to(address));
    Caller::new(api, root, guard, Arc::new(ManualClock::at(now())), None).unwrap()
}

/// Tells an API of a message; nobody asks the program to stop.
async fn tell(caller: &Caller, message: &Outgoing<'_>) -> Heard {
    caller.call(message, &CancellationToken::new()).await
}

fn note(body: &str) -> Outgoing<'_> {
    Outgoing {
        message_id: "0123456789abcdef@fernwood.example",
        customer_id: "crm:17",
        campaign: "vip-handoff",
        plan: "vip-handoff-20261122T010000Z-0a1b2c3d",
        content: Content::Webhook { body },
    }
}
