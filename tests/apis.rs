//! Letters and calls by HTTP APIs, against providers that keep their APIs' rules: whoever is in the plan is told once, and what an answer
//! means is what the account says.

use std::{collections::BTreeSet, fs, net::TcpListener, process::Stdio, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::support::{
    Folder,
    apis::{Api, Does, Provider, Said},
    approved::{Approved, let_time_pass},
    repository,
};

/// The project's letters leave by an API.
fn by_api(folder: &mut Folder, settings: &str) {
    folder.edit("config/perennial.toml", "email = \"outbox\"", "email = \"api\"");
    let text = fs::read_to_string(folder.path("config/perennial.toml")).unwrap();
    fs::write(folder.path("config/perennial.toml"), format!("{text}\n[delivery.api]\n{settings}\n")).unwrap();
}

fn by_ses(folder: &mut Folder, provider: &Provider) {
    let url = format!("{}/v2/email/outbound-emails", provider.api.base);
    by_api(folder, &format!("use = \"ses\"\nvalues = {{ region = \"eu-west-1\" }}\nrate = {{ requests = 1000 }}\nurl = \"{url}\""));
    folder.set("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
    folder.set("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI");
}

fn by_postmark(folder: &mut Folder, provider: &Provider) {
    let url = format!("{}/email", provider.api.base);
    by_api(folder, &format!("use = \"postmark\"\nvalues = {{ message_stream = \"broadcast\" }}\nurl = \"{url}\""));
    folder.set("POSTMARK_TOKEN", "pm-token");
}

/// What a provider took against what the account says: nobody twice, nobody told that was not planned, nothing else unknown.
#[track_caller]
fn agrees(approved: &Approved, provider: &Provider, lines: &crate::support::approved::Delivered) {
    let taken = provider.taken();
    let ids: BTreeSet<&str> = taken.iter().map(|letter| letter.id.as_str()).collect();
    assert_eq!(ids.len(), taken.len(), "no letter was sent twice");
    for letter in &taken {
        assert_eq!(approved.letters.get(&letter.id), Some(&letter.to), "{letter:?}");
        assert_eq!(letter.id.split('@').next(), Some(letter.perennial_id.as_str()));
        let line = &lines.lines[&letter.id];
        assert!(["accepted", "unknown"].contains(&line.state.as_str()), "{line:?}");
    }
    assert!(lines.ids("accepted").iter().all(|id| ids.contains(id)), "what is called accepted was taken");
}

/// Each of the fates once, far enough from each other that the provider does not seem to be away.
fn mixed(number: usize) -> Does {
    match number {
        3 => Does::TakesAndFails,
        10 => Does::TakesAndHangsUp,
        17 => Does::Refuses,
        24 => Does::IsBusy,
        31 => Does::KnowsNobody,
        _ => Does::Takes,
    }
}

#[test]
fn ses_gets_every_letter_as_it_was_reviewed_and_signed_for() {
    let approved = Approved::practice();
    let mut folder = approved.copy();
    let provider = Provider::ses(mixed);
    by_ses(&mut folder, &provider);
    let first = approved.deliver(&folder, &[]);
    assert_eq!(first.answer.code, 3);
    let counts = ["unknown", "rejected", "deferred", "waiting"].map(|state| first.count(state));
    assert_eq!(counts, [2, 2, 1, 0], "{:#?}", first.lines);
    agrees(&approved, &provider, &first);
    let letter = &provider.taken()[0];
    let mime = letter.told["mime"].as_str().unwrap();
    for line in
        ["\r\nX-Perennial-Plan: ", "\r\nList-Unsubscribe: <http", "\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click", "\r\nReply-To: "]
    {
        assert!(mime.contains(line), "{line} in {mime}");
    }
    assert!(mime.contains("Content-Type: text/plain") && mime.contains("Content-Type: text/html"));
    let accepted = first.lines.values().find(|line| line.state == "accepted").unwrap();
    assert!(accepted.reply.as_deref().unwrap().starts_with("200 0102019abc-"), "the provider's own name for it is kept: {accepted:?}");

    let_time_pass(&folder);
    let second = approved.deliver(&folder, &[]);
    assert_eq!((second.answer.code, second.count("deferred"), second.count("unknown")), (0, 0, 2), "nothing unknown is sent again");
    agrees(&approved, &provider, &second);
    assert_eq!(approved.deliver(&folder, &[]).said["this_run"]["accepted"], 0);
}

#[test]
fn postmark_keeps_our_id_and_names_it_when_a_letter_bounces() {
    let approved = Approved::practice();
    let mut folder = approved.copy();
    let provider = Provider::postmark(mixed);
    by_postmark(&mut folder, &provider);
    let returns = "\n[delivery.returns.providers.mail.postmark]\nusername = \"fernwood\"\npassword = { env = \"HOOK\" }\n";
    let text = fs::read_to_string(folder.path("config/perennial.toml")).unwrap();
    fs::write(folder.path("config/perennial.toml"), text + returns).unwrap();
    folder.set("HOOK", "s3cret");
    let first = approved.deliver(&folder, &[]);
    let counts = ["unknown", "rejected", "deferred", "waiting"].map(|state| first.count(state));
    assert_eq!((first.answer.code, counts), (3, [2, 2, 1, 0]), "{:#?}", first.lines);
    agrees(&approved, &provider, &first);
    let reasons: Vec<_> = first.lines.values().filter(|line| line.state == "rejected").filter_map(|line| line.reason.as_deref()).collect();
    assert!(reasons.contains(&"hard_bounce") && reasons.contains(&"refused"), "{reasons:?}");
    assert!(!first.answer.stderr.contains("example.org"), "no address stands in the log: {}", first.answer.stderr);
    let suppressed = |folder: &Folder| folder.json(&["suppress", "list"]).as_array().unwrap().len();
    assert_eq!(suppressed(&folder), 1, "an inactive recipient gets no mail any more");
    let told = &provider.taken()[0].told;
    assert_eq!((&told["TrackOpens"], &told["TrackLinks"], &told["Tag"]), (&json!(false), &json!("None"), &json!("win-back")));
    let header = |name: &str| told["Headers"].as_array().unwrap().iter().any(|header| header["Name"] == name);
    assert!(["Message-ID", "X-Perennial-Plan", "List-Unsubscribe", "List-Unsubscribe-Post"].into_iter().all(header), "{told}");

    // What Postmark tells afterwards names the letter by what it was given.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    folder.set("PERENNIAL__SERVER__ADDRESS", format!("127.0.0.1:{port}"));
    let mut served = folder.command(&["serve", "--no-schedule"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let letter = provider.taken().pop().unwrap();
    let bounce = json!({
        "RecordType": "Bounce", "ID": 42, "Type": "HardBounce", "Email": letter.to, "BouncedAt": chrono::Utc::now().to_rfc3339(),
        "Metadata": letter.told["Metadata"]
    });
    let told = async || {
        let client = reqwest::Client::new();
        for _ in 0..300 {
            let call = client.post(format!("http://127.0.0.1:{port}/returns/mail")).body(bounce.to_string());
            let call = call.header("authorization", format!("Basic {}", STANDARD.encode("fernwood:s3cret")));
            match call.send().await {
                Ok(answer) => return Some(answer.status().as_u16()),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        None
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(told()), Some(200));
    let _ = served.kill();
    let _ = served.wait();
    assert_eq!(suppressed(&folder), 2);
}

#[test]
fn a_wrong_key_or_a_provider_that_is_away_skips_nobody() {
    let approved = Approved::practice();
    let mut folder = approved.copy();
    let provider = Provider::postmark(|_| Does::Takes);
    by_postmark(&mut folder, &provider);
    folder.set("POSTMARK_TOKEN", "another");
    let closed = approved.deliver(&folder, &[]);
    assert_eq!((closed.answer.code, closed.count("rejected"), closed.count("accepted")), (1, 0, 0), "{:#?}", closed.said);
    let message = closed.said["error"]["message"].as_str().unwrap();
    assert!(message.contains("401") && !message.contains("another"), "{message}");
    folder.set("POSTMARK_TOKEN", "pm-token");
    let open = approved.deliver(&folder, &[]);
    assert_eq!((open.answer.code, open.count("accepted")), (0, approved.letters.len()));
    agrees(&approved, &provider, &open);

    // Whoever takes letters and never says so is believed to be away after three.
    let mut folder = approved.copy();
    let provider = Provider::ses(|_| Does::TakesAndHangsUp);
    by_ses(&mut folder, &provider);
    let away = approved.deliver(&folder, &[]);
    assert_eq!((away.answer.code, &away.said["error"]["code"]), (1, &json!("transport")));
    assert!((3..=6).contains(&away.count("unknown")), "those that were under way: {}", away.count("unknown"));
    assert_eq!(provider.taken().len(), away.count("unknown"));
}

#[test]
fn a_process_that_is_killed_or_asked_to_stop_sends_nothing_twice() {
    let approved = Approved::practice();
    // As many as were handed over may have left when a process dies; whoever is asked to stop brings back what has not.
    for (fault, unknown) in [("http.call.answered:5:kill", 1..=64), ("http.call.begin:5:term", 0..=0)] {
        let mut folder = approved.copy();
        let provider = Provider::ses(|_| Does::Takes);
        by_ses(&mut folder, &provider);
        folder.set("PERENNIAL_FAULT", fault);
        folder.run(&["deliver", &approved.plan]);
        assert!(provider.taken().len() < approved.letters.len(), "{fault}: it went on to the end");
        folder.set("PERENNIAL_FAULT", "");
        let after = approved.deliver(&folder, &[]);
        agrees(&approved, &provider, &after);
        assert!(unknown.contains(&after.count("unknown")), "{fault}: {}", after.count("unknown"));
        assert_eq!(after.count("accepted") + after.count("unknown"), approved.letters.len(), "{fault}: nobody was skipped");
    }
}

#[test]
fn whoever_asks_for_an_hour_of_peace_gets_it() {
    let approved = Approved::practice();
    let mut folder = approved.copy();
    let api = Api::start(|_| Said::Answer(429, vec![("Retry-After", "3600".to_owned())], "{\"ErrorCode\": 429}".to_owned()));
    by_api(&mut folder, &format!("use = \"postmark\"\nvalues = {{ message_stream = \"broadcast\" }}\nurl = \"{}/email\"", api.base));
    folder.set("POSTMARK_TOKEN", "pm-token");
    let busy = approved.deliver(&folder, &[]);
    assert_eq!(busy.answer.code, 1);
    assert!(busy.said["error"]["message"].as_str().unwrap().contains("3600 s"), "{}", busy.said);
    assert!(api.seen().len() <= 4 && busy.count("deferred") == api.seen().len(), "the others were not called: {}", api.seen().len());
    assert!(busy.count("waiting") > 0);
}

/// The example of docs/ops.md: the text between the lines that name the file and end the block.
fn documented(file: &str) -> String {
    let docs = fs::read_to_string(repository().join("docs/ops.md")).unwrap();
    let block = docs.split("```toml\n").find(|block| block.starts_with(&format!("# {file}\n"))).unwrap();
    block.split("```").next().unwrap().to_owned()
}

#[test]
fn the_next_api_is_a_file_of_the_project() {
    let approved = Approved::practice();
    let mut folder = approved.copy();
    // What the provider of the documented example does: JSON in, an id out, and keys that make repeating harmless.
    let api = Api::start(|call| {
        let told = call.json();
        let sound = call.headers.get("authorization").map(String::as_str) == Some("Bearer s3cret")
            && (call.method.as_str(), call.path.as_str()) == ("POST", "/v1/accounts/fernwood/letters")
            && call.headers.contains_key("idempotency-key");
        match (sound, told["to"].as_str()) {
            (true, Some(to)) if to.contains('@') && told["headers"].is_object() && told["html"].is_string() && told["text"].is_string() => {
                Said::json(202, &json!({ "letter": { "id": format!("l-{}", to.len()) } }))
            }
            (true, _) => Said::json(422, &json!({ "error": { "code": "bad_letter", "message": "x" } })),
            (false, _) => Said::json(401, &json!({ "error": { "code": "no_key", "message": "x" } })),
        }
    });
    let text = documented("config/apis/northpost.toml");
    fs::create_dir_all(folder.path("config/apis")).unwrap();
    fs::write(folder.path("config/apis/northpost.toml"), &text).unwrap();
    by_api(
        &mut folder,
        &format!("use = \"northpost\"\nvalues = {{ account = \"fernwood\" }}\nurl = \"{}/v1/accounts/{{account}}/letters\"", api.base),
    );
    folder.set("NORTHPOST_KEY", "s3cret");
    let checked = folder.run(&["check", "--offline", "--format", "json"]).json();
    assert!(!checked["findings"].to_string().contains("api"), "{checked}");
    let delivered = approved.deliver(&folder, &[]);
    assert_eq!((delivered.answer.code, delivered.count("accepted")), (0, approved.letters.len()), "{:#?}", delivered.said);
    let calls = api.seen();
    let keys: BTreeSet<&String> = calls.iter().map(|call| &call.headers["idempotency-key"]).collect();
    assert_eq!(keys, approved.letters.keys().collect(), "each letter has its own key, once");
    let headers = &calls[0].json()["headers"];
    assert!(headers["List-Unsubscribe"].is_string() && headers["Message-ID"].is_string(), "{headers}");

    // What would be found in the night is found before.
    let findings = |folder: &Folder| folder.run(&["check", "--offline", "--format", "json"]).ended(2).json()["findings"].to_string();
    fs::write(folder.path("config/apis/northpost.toml"), text.replace("{{ subject }}", "{{ subjct }}")).unwrap();
    let found = findings(&folder);
    assert!(found.contains("did you mean `subject`?") && found.contains("config/apis/northpost.toml"), "{found}");
    fs::write(folder.path("config/apis/northpost.toml"), &text).unwrap();
    folder.edit("config/perennial.toml", "use = \"northpost\"", "use = \"nortpost\"");
    assert!(findings(&folder).contains("did you mean `northpost`?"), "{}", findings(&folder));
    folder.edit("config/perennial.toml", "use = \"nortpost\"", "use = \"ses\"");
    let found = findings(&folder);
    assert!(found.contains("`account`") && found.contains("`region` is yet to be filled in") && found.contains("eu-west-1"), "{found}");
}

/// A practice shop with notes to staff by one API and to telephones by another.
fn with_receivers(slack: &Api, twilio: &Api) -> Folder {
    let mut folder = Folder::practice(1_500);
    let text = fs::read_to_string(folder.path("config/perennial.toml")).unwrap();
    let receivers = format!(
        "\n[delivery.receivers.team]\nuse = \"slack\"\nvalues = {{ channel = \"C1\" }}\nrate = {{ requests = 1000 }}\n\
         url = \"{}/api/chat.postMessage\"\n\n[delivery.receivers.phones]\nuse = \"twilio-sms\"\n\
         values = {{ account_sid = \"AC1\", api_key_sid = \"SK1\", from = \"+15017122661\" }}\nrate = {{ requests = 1000 }}\n\
         auth = {{ basic = {{ user = \"{{api_key_sid}}\", password = {{ file = \"twilio\" }} }} }}\n\
         url = \"{}/2010-04-01/Accounts/{{account_sid}}/Messages.json\"\n",
        slack.base, twilio.base
    );
    fs::write(folder.path("config/perennial.toml"), text + &receivers).unwrap();
    fs::write(folder.path("twilio"), "twilio-secret\n").unwrap();
    folder.set("SLACK_TOKEN", "xoxb-1");
    let campaigns = folder.path("jobs/campaigns");
    crate::support::copy(&campaigns.join("vip-handoff"), &campaigns.join("vip-sms"));
    for (campaign, receiver, body) in [("vip-handoff", "team", "slack"), ("vip-sms", "phones", "twilio-sms")] {
        let file = format!("jobs/campaigns/{campaign}/campaign.toml");
        folder.edit(&file, "channel = \"webhook\"", &format!("channel = \"webhook\"\nreceiver = \"{receiver}\""));
        folder.edit(&file, "max_missing = \"1%\"", "max_missing = \"100%\"");
        let body = repository().join(format!("src/delivery/api/apis/bodies/{body}.json"));
        fs::copy(body, campaigns.join(campaign).join("webhook.json")).unwrap();
    }
    folder
}

#[test]
fn notes_reach_slack_and_telephones_by_the_receiver_their_campaign_names() {
    let slack = Api::start(|call| {
        let note = call.json();
        let sound = call.headers.get("authorization").map(String::as_str) == Some("Bearer xoxb-1")
            && call.headers["content-type"].starts_with("application/json")
            && note["channel"] == "C1"
            && note["text"].is_string()
            && note["blocks"].as_array().is_some_and(|blocks| (1..=50).contains(&blocks.len()));
        // Slack answers 200 whatever is wrong.
        Said::json(
            200,
            &if sound { json!({"ok": true, "ts": "1795330800.000100"}) } else { json!({"ok": false, "error": "invalid_arguments"}) },
        )
    });
    let twilio = Api::start(|call| {
        let form = call.form();
        let error = |status: u16, code: u32| Said::json(status, &json!({"code": code, "message": "words", "status": status}));
        let known = ["To", "From", "Body", "MessagingServiceSid"];
        if call.headers.get("authorization") != Some(&format!("Basic {}", STANDARD.encode("SK1:twilio-secret"))) {
            return error(401, 20003);
        }
        if call.path != "/2010-04-01/Accounts/AC1/Messages.json" || call.headers["content-type"] != "application/x-www-form-urlencoded" {
            return error(404, 20404);
        }
        let digits = |text: &String| text.strip_prefix('+').is_some_and(|rest| rest.len() >= 8 && rest.bytes().all(|c| c.is_ascii_digit()));
        match form.get("To") {
            _ if form.keys().any(|name| !known.contains(&name.as_str())) || form["Body"].is_empty() => error(400, 21602),
            Some(to) if digits(&to.replace(' ', "")) => Said::json(201, &json!({"sid": format!("SM{}", to.len()), "status": "queued"})),
            _ => error(400, 21211),
        }
    });
    let folder = with_receivers(&slack, &twilio);
    let checked = folder.run(&["check", "--offline", "--format", "json"]).json();
    assert_eq!(checked["ok"], true, "{checked}");
    folder.json(&["run", "nightly"]);
    for campaign in ["vip-handoff", "vip-sms"] {
        let plan = folder.plan_of(campaign);
        let id = plan["plan"].as_str().unwrap().to_owned();
        folder.run(&["approve", &id, "--by", "Mara"]).ended(0);
        let account = folder.json(&["deliver", &id]);
        assert!(account["accepted"].as_u64().unwrap() > 0 && account["accepted"] == account["planned"], "{campaign}: {account}");
    }
    let notes = slack.seen();
    assert!(notes.iter().all(|note| note.json()["metadata"]["event_payload"]["message_id"].is_string()));
    let texts: Vec<_> = twilio.seen().iter().map(|call| call.form()["Body"].clone()).collect();
    assert!(!texts.is_empty() && texts.iter().all(|text| text.contains("STOP") && text.contains("Fernwood")), "{texts:?}");
    let ids: BTreeSet<String> = notes.iter().map(|note| note.json()["metadata"]["event_payload"]["message_id"].to_string()).collect();
    assert_eq!(ids.len(), notes.len(), "each note once");

    // A colleague gets a proof by the way letters go.
    let mut proofs = folder;
    let provider = Provider::postmark(|_| Does::Takes);
    by_postmark(&mut proofs, &provider);
    let person = proofs.json(&["query", "select customer_id from lapsed order by customer_id limit 1"])[0]["customer_id"].clone();
    let sent = proofs.json(&["send-test", "win-back", "--customer", person.as_str().unwrap(), "--to", "mara@fernwood.example"]);
    assert_eq!(sent["where"], "127.0.0.1", "{sent}");
    let proof = provider.taken().pop().unwrap();
    let marked = proof.told["Headers"].as_array().unwrap().iter().any(|header| header["Name"] == "X-Perennial-Test");
    assert!(marked && proof.to == "mara@fernwood.example" && proof.perennial_id.starts_with("test-"), "{proof:?}");
    let folder = proofs;

    // A template that does not fit, a receiver nobody knows and a secret that is not there are told before the night.
    let found = |folder: &Folder| folder.run(&["check", "--offline", "--format", "json"]).json()["findings"].to_string();
    let campaign = "jobs/campaigns/vip-handoff";
    fs::copy(repository().join(campaign).join("webhook.json"), folder.path(campaign).join("webhook.json")).unwrap();
    let findings = found(&folder);
    assert!(findings.contains("does not fit `slack`") && findings.contains("body.text") && findings.contains("webhook.json"), "{findings}");
    folder.edit(&format!("{campaign}/campaign.toml"), "receiver = \"team\"", "receiver = \"teem\"");
    assert!(found(&folder).contains("did you mean `team`?"), "{}", found(&folder));
    fs::remove_file(folder.path("twilio")).unwrap();
    assert!(found(&folder).contains("[delivery.receivers.phones]"), "{}", found(&folder));
}

#[test]
fn with_the_practice_keys_no_api_but_on_this_machine_is_called() {
    let mut folder = Folder::practice(300);
    by_api(&mut folder, "use = \"ses\"\nvalues = { region = \"eu-west-1\" }");
    let found = folder.run(&["check", "--offline", "--format", "json"]).ended(2).json()["findings"].to_string();
    assert!(found.contains("practice keys") && found.contains("email.eu-west-1.amazonaws.com"), "{found}");
}
