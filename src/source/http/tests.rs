//! What APIs have of their own: rows that are not whole, tokens that are signed for and say where the API lies.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::assertion::tests::rsa_key;
use crate::{
    diagnosis::{Diagnose, Exit},
    source::tests::{CURSOR, LINK, NOW, Project, TOKEN, fake, shop, source},
};

#[tokio::test]
async fn a_row_whose_list_is_cut_off_stops_the_stream() {
    let fake = fake(50, 0).await;
    let row = |id: &str, more: Value| json!({"id": id, "updated_at": "2023-11-14T22:13:21Z", "items": {"page": {"more": more}}});
    let settings = shop(&fake.base, "\"none\"", &format!("{CURSOR}\ntruncated = [\"items.page.more\"]"));
    let project = Project::new("shop", &settings).await;
    let rows = |rows: Value| fake.world.lock().unwrap().rows = Some(rows);
    rows(json!([row("a", json!(false)), row("b", json!(true))]));
    let error = project.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: row b is not whole: `items.page.more` says that there is more of it");
    assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("cut_off", Exit::Failed));
    assert!(project.orders().await.is_empty() && project.lake.cursor("shop__orders").await.unwrap().is_none());
    rows(json!([row("a", json!("no"))]));
    let error = project.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: /orders holds neither true nor false at `items.page.more` of row a");
    rows(json!([row("a", json!(false)), {"id": "b", "updated_at": "2023-11-14T22:13:21Z", "items": null}]));
    fake.world.lock().unwrap().rows.as_mut().unwrap()[0]["value"] = json!(1);
    fake.world.lock().unwrap().rows.as_mut().unwrap()[1]["value"] = json!(1);
    assert_eq!(project.pull().await.map(|pulled| pulled.rows).unwrap(), 2);
}

fn login(base: &str, auth: &str, api: &str) -> String {
    format!("auth = {{ {auth}, token_url = \"{base}/token\" }} }}\n{}", shop(api, TOKEN, CURSOR))
}

const SIGNED: &str = "jwt_bearer = { issuer = \"me\", subject = \"shop@example.com\", audience = \"https://login.example\", key = { file = \"config/key\" }, scope = \"read\"";
const CLIENT: &str = "client_credentials = { client_id = \"me\", client_secret = { file = \"config/secret\" }, base_url = \"instance_url\"";

#[tokio::test]
async fn a_token_is_given_for_a_signature_and_signed_for_anew_when_it_ends() {
    let fake = fake(3, 6).await;
    let (key, public) = rsa_key();
    {
        let login = &mut fake.world.lock().unwrap().login;
        (login.public, login.lives) = (Some(public), Some(1800));
    }
    let project = Project::new("shop", &login(&fake.base, SIGNED, &fake.base)).await;
    project.write("config/key", key.reveal().as_bytes());
    assert_eq!(project.pull().await.unwrap().rows, 6);
    let now: DateTime<Utc> = NOW.parse().unwrap();
    {
        let login = &fake.world.lock().unwrap().login;
        let claims = ["iss", "sub", "aud", "scope", "exp"].map(|name| login.claims[name].clone());
        let ends = json!((now + TimeDelta::seconds(120)).timestamp());
        assert_eq!(claims, [json!("me"), json!("shop@example.com"), json!("https://login.example"), json!("read"), ends]);
        assert_eq!(login.given, 1);
    }
    project.pull().await.unwrap();
    assert_eq!(fake.world.lock().unwrap().login.given, 1);
    project.clock.set(now + TimeDelta::seconds(1741));
    project.pull().await.unwrap();
    assert_eq!(fake.world.lock().unwrap().login.given, 2);

    let other = Project::new("shop", &login(&fake.base, SIGNED, &fake.base)).await;
    other.write("config/key", rsa_key().0.reveal().as_bytes());
    let error = other.pull().await.unwrap_err();
    assert_eq!(error.to_string(), "shop.orders: got no token: /token answered 400: ••••", "what was signed is not repeated");
    other.write("config/key", b"s3cret");
    let error = other.pull().await.unwrap_err();
    assert!(error.to_string().starts_with("shop.orders: the `key` of `jwt_bearer` is no private key in PEM"), "{error}");
    assert!(!format!("{error:?}").contains("s3cret"));
    assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("bad_key", Exit::Wrong));
}

#[tokio::test]
async fn the_answer_with_the_token_says_where_the_api_lies() {
    for paging in [TOKEN, LINK] {
        let fake = fake(3, 9).await;
        let base = |base: Option<String>| fake.world.lock().unwrap().login.base = base;
        // Nothing answers where the settings point to.
        let settings = login(&fake.base, CLIENT, "http://127.0.0.1:1").replace(TOKEN, paging);
        let project = async || {
            let project = Project::new("shop", &settings).await;
            project.write("config/secret", b"s3cret\n");
            project
        };
        base(Some(format!("{}/", fake.base)));
        let known = project().await;
        let pulled = known.pull().await.unwrap();
        assert_eq!((pulled.rows, pulled.requests), (9, 3));
        assert_eq!(known.orders().await, fake.world.lock().unwrap().records);
        for (told, words) in [
            (None, "does not say at `instance_url` where the API lies"),
            (
                Some("http://shop.example".to_owned()),
                "says at `instance_url` that the API lies at `http://shop.example`, which is no address",
            ),
            (Some("shop".to_owned()), "says at `instance_url` that the API lies at `shop`, which is no address"),
        ] {
            base(told);
            let error = project().await.pull().await.unwrap_err();
            assert!(error.to_string().starts_with(&format!("shop.orders: got no token: /token {words}")), "{error}");
        }
    }
}

#[tokio::test]
async fn a_pull_that_broke_off_goes_on_where_the_token_says_the_api_lies() {
    let fake = fake(5, 60).await;
    fake.world.lock().unwrap().login.base = Some(fake.base.clone());
    let settings = login(&fake.base, CLIENT, "http://127.0.0.1:1").replace(TOKEN, LINK);
    let mut project = Project::new("shop", &settings).await;
    project.write("config/secret", b"s3cret\n");
    fake.world.lock().unwrap().tell_at = Some(9);
    tokio::select! {
        outcome = project.pull_in_chunks(10) => panic!("{outcome:?}"),
        () = fake.told.notified() => {}
    }
    let there = project.orders().await.len() as u64;
    project.source = source("shop", &settings).unwrap();
    let outcome = project.pull_in_chunks(10).await.unwrap();
    assert_eq!((outcome.rows, outcome.inserted), (60 - there, 60 - there));

    // Where it has moved meanwhile, the link is not followed: the pull begins anew.
    fake.world.lock().unwrap().change(&crate::source::tests::write(1, 5));
    fake.world.lock().unwrap().tell_at = Some(6);
    project.clock.set(NOW.parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(1));
    tokio::select! {
        outcome = project.pull_in_chunks(5) => panic!("{outcome:?}"),
        () = fake.told.notified() => {}
    }
    project.source = source("shop", &settings).unwrap();
    fake.world.lock().unwrap().login.base = Some(fake.base.replace("127.0.0.1", "localhost"));
    project.pull_in_chunks(5).await.unwrap();
    assert_eq!(project.orders().await, fake.world.lock().unwrap().records);
}
