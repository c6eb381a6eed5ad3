//! `perennial serve`: health, the link that makes letters stop, jobs on their schedule, and a clean end.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::support::Folder;

/// The running server; killed where a test fails before it stops it.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_answers_opts_out_runs_slots_and_stops_cleanly() {
    let mut folder = Folder::practice(400);
    folder.json(&["run", "nightly"]);
    let plan = folder.plan_of("check-in")["plan"].as_str().unwrap().to_owned();
    folder.run(&["approve", &plan, "--by", "Mara"]).ended(0);
    folder.json(&["deliver", &plan]);
    let letter = folder.outbox().into_iter().find(|file| file.ends_with(".eml")).unwrap();
    let letter = std::fs::read_to_string(folder.path(&format!("data/outbox/{letter}"))).unwrap().replace("\r\n ", "");
    let link = letter.split("List-Unsubscribe: <").nth(1).unwrap().split('>').next().unwrap().to_owned();

    // A job that is due every minute, beside the nightly one.
    std::fs::write(folder.path("jobs/often.toml"), "schedule = \"* * * * *\"\ntimezone = \"UTC\"\nsteps = [\"tidy\"]\n").unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    folder.set("PERENNIAL__SERVER__ADDRESS", format!("127.0.0.1:{port}"));
    let mut served = Served(folder.command(&["serve"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let base = format!("http://127.0.0.1:{port}");
    until(|| async { reqwest::get(format!("{base}/health")).await.is_ok_and(|answer| answer.status() == 200) }).await;

    let path = link.split("/u/").nth(1).unwrap();
    let page = reqwest::get(format!("{base}/u/{path}")).await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("<form method=\"post\">"));
    assert_eq!(folder.json(&["suppress", "list"]).as_array().unwrap().len(), 0, "following the link changes nothing");
    assert_eq!(reqwest::get(format!("{base}/u/{path}x")).await.unwrap().status(), 404);

    // Short of silence: less often, or nothing of this kind.
    for (choice, said) in [("fewer", "write to you less often"), ("kind", "no more letters of this kind")] {
        let answer = reqwest::Client::new().post(format!("{base}/u/{path}")).body(format!("choice={choice}")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.unwrap();
        assert!(text.contains(said), "{text}");
    }
    assert_eq!(folder.json(&["suppress", "list"]).as_array().unwrap().len(), 0);

    let client = reqwest::Client::new();
    let post = || {
        client
            .post(format!("{base}/u/{path}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("List-Unsubscribe=One-Click")
            .send()
    };
    assert_eq!(post().await.unwrap().status(), 200);
    assert_eq!(post().await.unwrap().status(), 200, "once more is no mistake");
    let suppressed = folder.json(&["suppress", "list"]);
    assert!(suppressed.as_array().unwrap().iter().any(|one| one["reason"] == "unsubscribed"), "{suppressed}");
    assert!(reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap().contains("perennial_opt_outs_total"));

    until(|| async { folder.json(&["history"]).as_array().unwrap().iter().any(|run| run["job"] == "often" && run["status"] == "done") })
        .await;

    Command::new("kill").arg("-TERM").arg(served.0.id().to_string()).status().unwrap();
    let ended = tokio::task::spawn_blocking(move || served.0.wait().unwrap()).await.unwrap();
    assert_eq!(ended.code(), Some(0), "SIGTERM ends it cleanly");
    // Each slot ran once: as many runs as different logical times.
    let history = folder.json(&["history", "--last", "100"]);
    let mut slots: Vec<&str> =
        history.as_array().unwrap().iter().filter(|run| run["job"] == "often").map(|run| run["as_of"].as_str().unwrap()).collect();
    let runs = slots.len();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), runs);
}

/// Waits until `done`, as long as it takes within two minutes.
async fn until<F: Future<Output = bool>>(done: impl Fn() -> F) {
    for _ in 0..600 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("it did not happen within two minutes");
}
