//! Every phase of a call fails once.

use std::{net::SocketAddr, sync::Mutex};

use chrono::TimeDelta;
use tokio::net::TcpListener;

use super::{
    super::{
        answer::{Door, Heard},
        auth::Tokens,
        request::Request,
        settings::{ApiSettings, Section, ready},
    },
    server::{Act, Server, answer},
    *,
};
use crate::{delivery::transport::Outcome, message::Channel, secret::Secret};

/// An API of the plainest kind; in the open, so that a server of bytes can play it.
const PLAIN: &str = "channel = \"webhook\"\nurl = \"http://api.example/hook\"\nallow = [\"api.example\"]\n";

fn with(rest: &str) -> String {
    format!("{PLAIN}{rest}")
}

async fn heard(rest: &str, act: Act) -> (Heard, Server) {
    let server = Server::playing([act]).await;
    let root = tempfile::tempdir().unwrap();
    let caller = caller(&with(rest), &[], server.address, root.path());
    (tell(&caller, &note("{\"a\": 1}")).await, server)
}

fn accepted(reply: &str) -> Heard {
    Heard { outcome: Outcome::Accepted(Some(reply.to_owned())), door: Door::Open }
}

#[tokio::test]
async fn a_call_arrives_whole_and_its_answer_is_kept() {
    let idempotency = "id = \"/id\"\nidempotency = { header = \"Idempotency-Key\" }\n";
    let (heard, server) = heard(idempotency, Act::Answer(answer(202, &[], "{\"id\": \"n-1\"}"))).await;
    assert_eq!(heard, accepted("202 n-1"));
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str(), seen.body.as_slice()), ("POST", "/hook", b"{\"a\": 1}".as_slice()));
    for (name, value) in [
        ("host", "api.example"),
        ("content-type", "application/json"),
        ("content-length", "8"),
        ("idempotency-key", "0123456789abcdef@fernwood.example"),
        ("user-agent", concat!("perennial/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    assert_eq!(seen.header("accept-encoding"), None, "a packed answer could be of any size");
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    // A port nobody listens on any more.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let root = tempfile::tempdir().unwrap();
    let heard = tell(&caller(PLAIN, &[], address, root.path()), &note("{}")).await;
    assert!(matches!(heard.outcome, Outcome::Deferred { reply: Some(ref reply), after: None, .. } if !reply.is_empty()), "{heard:?}");
    assert!(matches!(heard.door, Door::Silent(_)), "{heard:?}");
}

#[tokio::test]
async fn a_timeout_before_the_body_left_is_not_unknown() {
    // TLS never comes about.
    let server = Server::playing([Act::Deaf]).await;
    let root = tempfile::tempdir().unwrap();
    let text = with("timeout = \"2s\"\n");
    let heard = tell(&caller(&text.replace("http:", "https:"), &[], server.address, root.path()), &note("{}")).await;
    assert!(matches!((&heard.outcome, &heard.door), (Outcome::Deferred { .. }, Door::Silent(_))), "{heard:?}");
    // The name is never resolved.
    let api = api(&text, &[]);
    let guard = Guard::with_lookup(&api.description.allow, Arc::new(|_| Box::pin(std::future::pending())));
    let caller = Caller::new(api, root.path(), guard, Arc::new(ManualClock::at(now())), None).unwrap();
    let heard = tell(&caller, &note("{}")).await;
    assert!(matches!((&heard.outcome, &heard.door), (Outcome::Deferred { .. }, Door::Silent(_))), "{heard:?}");
}

#[tokio::test]
async fn silence_after_the_body_left_is_unknown() {
    for act in [Act::Silence, Act::HangUp] {
        let (heard, server) = heard("timeout = \"5s\"\n", act).await;
        assert_eq!(server.seen().len(), 1);
        assert!(matches!((&heard.outcome, &heard.door), (Outcome::Unknown(_), Door::Silent(_))), "{heard:?}");
    }
}

/// What becomes of a message whose first call got no answer, and how often it was told.
async fn repeated(honours: bool, later: impl IntoIterator<Item = Act>) -> (Heard, usize) {
    let server = Server::playing([Act::HangUp].into_iter().chain(later)).await;
    let root = tempfile::tempdir().unwrap();
    let text = with(&format!("idempotency = {{ header = \"Idempotency-Key\", honours = {honours} }}\n"));
    let mut caller = caller(&text, &[], server.address, root.path());
    caller.repeats = Default::default();
    let heard = tell(&caller, &note("{}")).await;
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.header("idempotency-key") == Some("0123456789abcdef@fernwood.example")));
    (heard, seen.len())
}

#[tokio::test]
async fn where_idempotency_is_honoured_silence_is_repeated_under_the_same_id() {
    let said = |status| Act::Answer(answer(status, &[], ""));
    assert_eq!(repeated(true, [said(200)]).await, (accepted("200"), 2));
    assert_eq!(repeated(true, [said(502), said(200)]).await, (accepted("200"), 3));
    assert_eq!(repeated(true, [said(429), said(200)]).await, (accepted("200"), 3));
    assert!(matches!(repeated(true, [said(422)]).await, (Heard { outcome: Outcome::Rejected { .. }, .. }, 2)));
    // Only an answer to the first call says what became of it.
    for later in [vec![], vec![said(429), said(429)], vec![said(409), said(409)], vec![said(500), said(503)]] {
        let (heard, told) = repeated(true, later).await;
        assert!(matches!(heard.outcome, Outcome::Unknown(_)), "{heard:?}");
        assert_eq!(told, 3);
    }
    for (status, disabled) in [(401, false), (410, true)] {
        let (heard, told) = repeated(true, [said(status), said(200)]).await;
        assert!(matches!(heard.outcome, Outcome::Unknown(_)), "{heard:?}");
        assert_eq!((matches!(heard.door, Door::Disabled(_)), told), (disabled, 2), "{heard:?}");
    }
}

#[tokio::test]
async fn without_a_promise_nothing_unanswered_is_told_again() {
    let (heard, told) = repeated(false, [Act::Answer(answer(200, &[], ""))]).await;
    assert!(matches!(heard.outcome, Outcome::Unknown(_)), "{heard:?}");
    assert_eq!(told, 1);
}

#[tokio::test]
async fn slow_answers_are_read_to_their_end() {
    let (heard, _) = heard("id = \"/id\"\n", Act::Drip(answer(200, &[], "{\"id\": \"n-1\"}"))).await;
    assert_eq!(heard, accepted("200 n-1"));
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut() {
    let flood = || Act::Flood(b"HTTP/1.1 200 OK\r\n\r\n{\"id\": \"n-1\", \"x\": \"".to_vec());
    let limited = "max_answer_kib = 1\n";
    assert_eq!(heard(limited, flood()).await.0, accepted("200"));
    let (named, _) = heard(&format!("{limited}id = \"/id\"\n"), flood()).await;
    assert!(matches!(named.outcome, Outcome::Unknown(_)), "{named:?}");
    // Headers without end are no answer at all.
    let (heads, _) = heard("", Act::Flood(b"HTTP/1.1 200 OK\r\nx: ".to_vec())).await;
    assert!(matches!(heads.outcome, Outcome::Unknown(_)), "{heads:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_says_what_its_status_says() {
    let half = |status| Act::Answer(format!("HTTP/1.1 {status} Said\r\nContent-Length: 100\r\n\r\n{{\"id\"").into_bytes());
    assert_eq!(heard("", half(200)).await.0, accepted("200"));
    assert!(matches!(heard("id = \"/id\"\n", half(200)).await.0.outcome, Outcome::Unknown(_)));
    assert!(matches!(heard("id = \"/id\"\n", half(422)).await.0.outcome, Outcome::Rejected { .. }));
    assert!(matches!(heard("", Act::Answer(b"220 mail.example ESMTP\r\n".to_vec())).await.0.outcome, Outcome::Unknown(_)));
}

#[tokio::test]
async fn redirects_are_never_followed() {
    let elsewhere = Server::playing([]).await;
    for status in [301, 302, 307, 308] {
        let location = format!("http://{}/", elsewhere.address);
        let (heard, _) = heard("", Act::Answer(answer(status, &[("Location", &location)], ""))).await;
        assert!(matches!((&heard.outcome, &heard.door), (Outcome::NotSent, Door::Closed(_))), "{heard:?}");
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_called_no_more() {
    let (heard, _) = heard("", Act::Answer(answer(410, &[], "gone"))).await;
    assert_eq!(heard, Heard { outcome: Outcome::NotSent, door: Door::Disabled("410".to_owned()) });
    let (heard, _) = super::phases::heard("", Act::Answer(answer(429, &[("Retry-After", "120")], ""))).await;
    let outcome = Outcome::Deferred { reply: Some("429".to_owned()), after: Some(TimeDelta::seconds(120)), of_relay: false };
    assert_eq!(heard, Heard { outcome, door: Door::Busy(Some(TimeDelta::seconds(120))) });
}

#[tokio::test]
async fn names_that_lead_inside_are_not_called() {
    let server = Server::playing([]).await;
    let root = tempfile::tempdir().unwrap();
    let text = PLAIN.replace("http:", "https:").replace("allow = [\"api.example\"]", "allow = [\"other.example\"]");
    let inside: SocketAddr = "169.254.169.254:80".parse().unwrap();
    for address in [server.address, inside] {
        let heard = tell(&caller(&text, &[], address, root.path()), &note("{}")).await;
        assert_eq!(heard.outcome, Outcome::NotSent);
        let reason = format!("`api.example` is {}, which is not an address in the internet", address.ip());
        assert_eq!(heard.door, Door::Closed(reason));
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn what_fits_no_call_stops_the_way_and_what_is_too_large_only_itself() {
    let server = Server::playing([]).await;
    let root = tempfile::tempdir().unwrap();
    let caller = caller(&with("max_body_kib = 1\nbody = \"{{ body.a }}\"\n"), &[], server.address, root.path());
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(1100));
    let heard = tell(&caller, &note(&large)).await;
    assert_eq!(heard, Heard::open(Outcome::Rejected { reason: "too_large", reply: None, dead: false }));
    let heard = tell(&caller, &note("{\"b\": 1}")).await;
    assert!(matches!((&heard.outcome, &heard.door), (Outcome::NotSent, Door::Closed(_))), "{heard:?}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn an_id_never_leads_to_another_address() {
    let server = Server::answering(|_| answer(200, &[], "")).await;
    let root = tempfile::tempdir().unwrap();
    let caller = caller(&PLAIN.replace("/hook", "/people/{customer_id}/notes"), &[], server.address, root.path());
    for id in ["..", "."] {
        let heard = tell(&caller, &Outgoing { customer_id: id, ..note("{}") }).await;
        assert_eq!(heard, Heard::open(Outcome::Rejected { reason: "bad_id", reply: None, dead: false }));
    }
    for (id, path) in [
        ("../x", "/people/..%2Fx/notes"),
        ("a/b?c#d", "/people/a%2Fb%3Fc%23d/notes"),
        ("%2e%2e", "/people/%252e%252e/notes"),
        ("ü@x", "/people/%C3%BC%40x/notes"),
    ] {
        assert_eq!(tell(&caller, &Outgoing { customer_id: id, ..note("{}") }).await, accepted("200"), "{id}");
        assert_eq!(server.seen().last().unwrap().path, path);
    }
}

#[tokio::test]
async fn secrets_travel_where_they_belong_and_come_back_nowhere() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("s"), "T0/B0/hunter2").unwrap();
    for (url, auth) in [
        ("http://api.example/services/{secret}", "path = { secret = { file = \"s\" } }"),
        ("http://api.example/x", "header = { name = \"X-Key\", value = { file = \"s\" } }"),
        ("http://api.example/x", "basic = { user = \"me\", password = { file = \"s\" } }"),
    ] {
        // It repeats whatever it was told.
        let server = Server::answering(|seen| {
            let told = serde_json::json!({"error": format!("{} {:?}", seen.path, seen.headers)});
            answer(422, &[], &told.to_string())
        })
        .await;
        let text = with(&format!("says = [\"/error\"]\nauth = {{ {auth} }}\n")).replace("http://api.example/hook", url);
        let caller = caller(&text, &[], server.address, root.path());
        let heard = tell(&caller, &note("{}")).await;
        let seen = format!("{:?}", server.seen());
        assert!(seen.contains("hunter2") || seen.contains("bWU6VDAvQjAvaHVudGVyMg=="), "{seen}");
        for words in [format!("{heard:?}"), format!("{caller:?}")] {
            assert!(!words.contains("hunter2") && !words.contains("aHVudGVyMg"), "{words}");
        }
    }
}

#[tokio::test]
async fn a_request_shows_nothing_of_its_person() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("s"), "hunter2").unwrap();
    let api = api(&with("auth = { bearer = { token = { file = \"s\" } } }\n").replace("/hook", "/{customer_id}"), &[]);
    let credentials = api.description.auth.open(root.path(), |_| None).unwrap();
    let request: Request =
        super::super::request::prepare(&api, &credentials, None, &note("{\"email\": \"ann@example.org\"}"), now()).unwrap();
    let words = format!("{request:?}");
    assert!(!words.contains("hunter2") && !words.contains("ann@") && !words.contains("crm"), "{words}");
    assert!(words.contains("api.example") && words.contains("authorization") && words.contains("28 bytes"), "{words}");
}

#[derive(Debug, Default)]
struct Desk(Mutex<u32>);

#[async_trait::async_trait]
impl Tokens for Desk {
    async fn token(&self) -> Result<Secret, String> {
        match *self.0.lock().unwrap() {
            9.. => Err("login.example is away".to_owned()),
            number => Ok(Secret::new(format!("t{number}"))),
        }
    }

    async fn refused(&self) {
        *self.0.lock().unwrap() += 1;
    }
}

#[tokio::test]
async fn a_token_that_ended_early_is_fetched_anew_once() {
    let text = with(
        "auth = { client_credentials = { token_url = \"https://login.example/\", client_id = { env = \"Y\" }, client_secret = { env = \"X\" } } }\n",
    );
    let server = Server::answering(|seen| match seen.header("authorization") {
        Some("Bearer t1") => answer(200, &[], ""),
        _ => answer(401, &[], ""),
    })
    .await;
    let root = tempfile::tempdir().unwrap();
    let new = |tokens: Option<Arc<dyn Tokens>>| {
        let api = api(&text, &[]);
        let guard = Guard::with_lookup(&api.description.allow, leading_to(server.address));
        Caller::new(api, root.path(), guard, Arc::new(ManualClock::at(now())), tokens)
    };
    assert!(new(None).is_err(), "nobody fetches tokens");
    let desk = Arc::new(Desk::default());
    let caller = new(Some(desk.clone())).unwrap();
    assert_eq!(tell(&caller, &note("{}")).await, accepted("200"));
    assert_eq!(server.seen().len(), 2);
    *desk.0.lock().unwrap() = 5;
    assert_eq!(tell(&caller, &note("{}")).await.door, Door::Closed("401".to_owned()));
    assert_eq!(server.seen().len(), 4, "twice, and not for ever");
    *desk.0.lock().unwrap() = 9;
    assert_eq!(tell(&caller, &note("{}")).await.door, Door::Closed("no token: login.example is away".to_owned()));
}

#[tokio::test]
async fn a_signed_call_is_the_one_that_was_signed() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("s"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let server = Server::playing([Act::Answer(answer(204, &[], ""))]).await;
    let caller = caller(&with("auth = { standard_webhooks = { secret = { file = \"s\" } } }\n"), &[], server.address, root.path());
    assert_eq!(tell(&caller, &note("{\"test\": 2432232314}")).await, accepted("204"));
    let seen = &server.seen()[0];
    assert_eq!(seen.header("webhook-id"), Some("0123456789abcdef"));
    assert_eq!(seen.header("webhook-timestamp"), Some("1795330800"));
    // The HMAC of `0123456789abcdef.1795330800.{"test": 2432232314}`, by Python.
    assert_eq!(seen.header("webhook-signature"), Some("v1,MpF+Z46WGHntNoGRj2QF0rji0yj57hWVn2KFMCvZW4I="));
}

#[tokio::test]
async fn tokens_are_fetched_with_the_clients_secret_and_anew_where_they_are_refused() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("config/apis")).unwrap();
    std::fs::write(root.path().join("id"), "me").unwrap();
    std::fs::write(root.path().join("secret"), "s3cret\n").unwrap();
    std::fs::write(
        root.path().join("config/apis/crm.toml"),
        "channel = \"webhook\"\nurl = \"http://127.0.0.1:{port}/hook\"\nallow = [\"127.0.0.1\"]\n\n[values]\nport = \"\"\n\n[auth.client_credentials]\n\
         token_url = \"http://127.0.0.1:{port}/token\"\nclient_id = { file = \"id\" }\nclient_secret = { file = \"secret\" }\nscope = \"api\"\n",
    )
    .unwrap();
    let given = Mutex::new(0);
    let server = Server::answering(move |seen| {
        let form = b"grant_type=client_credentials&client_id=me&client_secret=s3cret&scope=api";
        match (seen.path.as_str(), seen.header("authorization")) {
            ("/token", None) if seen.body == form => {
                *given.lock().unwrap() += 1;
                let token =
                    format!("{{\"access_token\": \"t{}\", \"token_type\": \"Bearer\", \"expires_in\": 3600}}", given.lock().unwrap());
                answer(200, &[], &token)
            }
            ("/token", _) => answer(400, &[], "{\"error\": \"invalid_client\"}"),
            (_, Some("Bearer t2")) => answer(200, &[], ""),
            _ => answer(401, &[], ""),
        }
    })
    .await;
    let port = server.address.port().to_string();
    let settings: ApiSettings = toml::from_str(&format!("use = \"crm\"\nvalues = {{ port = \"{port}\" }}")).unwrap();
    let section = Section { name: "[delivery.webhook]".to_owned(), channel: Channel::Webhook };
    let caller = |secret: &str| {
        std::fs::write(root.path().join("secret"), secret).unwrap();
        let api = settings.open(&section, root.path(), true).unwrap();
        ready(api, "crm", root.path(), Arc::new(ManualClock::at(now()))).unwrap()
    };
    let right = caller("s3cret");
    for _ in 0..2 {
        assert_eq!(tell(&right, &note("{}")).await, accepted("200"));
    }
    let paths: Vec<String> = server.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/token", "/hook", "/token", "/hook", "/hook"], "the second one is kept");
    let wrong = tell(&caller("wr0ng"), &note("{}")).await;
    assert!(matches!(&wrong.door, Door::Closed(reason) if reason.contains("no token") && reason.contains("400")), "{wrong:?}");
    assert!(!format!("{wrong:?}").contains("wr0ng"));
}
