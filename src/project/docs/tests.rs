//! Sites of whole projects.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::*;
use crate::project::init;

struct Shop {
    root: tempfile::TempDir,
}

impl Shop {
    fn practice() -> Self {
        let root = tempfile::tempdir().unwrap();
        init(root.path(), &[]).unwrap();
        Self { root }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.root.path().join(file), text).unwrap();
    }

    async fn docs(&self) -> Site {
        let folder = Folder::new(self.root.path(), None, std::iter::empty());
        let job = JobEntry {
            name: "nightly".into(),
            file: PathBuf::from("jobs/nightly.toml"),
            schedule: "0 2 * * *".into(),
            timezone: "Europe/Berlin".into(),
            steps: vec!["pull".into(), "build".into()],
            deliver: false,
        };
        docs(&folder, vec![job], None).await.unwrap()
    }

    fn page(&self, page: &str) -> String {
        fs::read_to_string(self.root.path().join(FOLDER).join(page)).unwrap()
    }

    fn pages(&self, site: &Site) -> BTreeMap<PathBuf, String> {
        site.written.iter().map(|page| (page.clone(), self.page(page.to_str().unwrap()))).collect()
    }
}

#[tokio::test]
async fn a_fresh_clone_has_a_page_of_every_table_and_no_data_is_made() {
    let shop = Shop::practice();
    let site = shop.docs().await;
    assert!(site.failures.is_empty() && site.removed.is_empty(), "{:?}", site.failures);
    assert_eq!(site.written.len(), site.tables + 4);
    assert!(!shop.root.path().join("data/ledger.db").exists() && !shop.root.path().join("data/lake").exists());
    let lapsed = shop.page("segments/lapsed.html");
    for told in [
        "Decides who is asked to come back",
        "the occasion: this silence, since this order",
        "$min_quiet_days",
        "change(40%, 20)",
        "sql&#x2f;tests&#x2f;lapsed.toml",
        "href=\"../campaigns.html#campaign-win-back\"",
        "href=\"../models/customer_features.html\"",
        "href=\"../campaigns.html#job-nightly\"",
    ] {
        let told = told.replace("sql&#x2f;", "sql/").replace("&#x2f;", "/");
        assert!(lapsed.replace("&#x2f;", "/").contains(&told), "{told}");
    }
    let column = |name: &str| {
        let row = lapsed.split("<tr>").find(|row| row.contains(&format!("<th scope=\"row\"><code>{name}</code>"))).unwrap();
        row.contains("as in")
    };
    assert!(column("first_name") && column("quiet_days"), "handed on by the model that says what they hold");
    assert!(!column("customer_id") && !column("step"), "several tables have it, or the file itself makes it");
    let overview = shop.page("index.html").replace("&#x2f;", "/");
    assert!(overview.contains("href=\"raw/shop__orders.html\"") && overview.contains("href=\"staging/shop__orders.html\""));
    assert!(shop.page("functions.html").contains("months_between(a, b[, zone])"));
    assert_eq!(shop.pages(&site), shop.pages(&shop.docs().await), "the same bytes");
}

#[tokio::test]
async fn whatever_a_project_says_stays_text() {
    let shop = Shop::practice();
    let evil = "</code><script>alert(1)</script>'\"&";
    shop.write(
        "sql/segments/index.sql",
        &format!(
            "/* ---\nkey = \"customer_id\"\nowner = \"\"\"{evil}\"\"\"\nparams = {{ least = '''</code><script>alert(2)</script>''' }}\n--- */\n\
             -- What {evil} is.\nselect customer_id, -- who {evil}\n  $least as \"<script>alert(3)</script>\", -- {evil}\n  1 as \"index\"\nfrom customers\n"
        ),
    );
    shop.write("sql/models/<script>.sql", &format!("select '{evil}'"));
    shop.write("sql/tests/index.toml", &format!("test = \"index\"\nas_of = \"2026-11-22\"\n[[case]]\nname = '''{evil}'''\nexpect = []\n"));
    let campaign = "jobs/campaigns/win-back/campaign.toml";
    let text = fs::read_to_string(shop.root.path().join(campaign)).unwrap();
    shop.write(campaign, &format!("# {evil}\n{text}"));
    let site = shop.docs().await;
    for (page, text) in shop.pages(&site) {
        assert!(!text.contains("<script>alert") && !text.contains("</script>'"), "{}", page.display());
        assert_eq!(text.matches("<script").count(), usize::from(page == Path::new("index.html")), "{}", page.display());
    }
    let page = shop.page("segments/index.html");
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("&lt;script&gt;alert(2)"));
    assert!(site.written.iter().all(|page| page.to_str().is_some_and(|page| !page.contains('<'))), "{:?}", site.written);
}

#[tokio::test]
async fn a_broken_file_is_told_on_its_page_and_the_others_are_written() {
    let shop = Shop::practice();
    shop.write(
        "sql/models/customer_features.sql",
        "/* ---\nkey = \"customer_id\"\n--- */\n-- Broken.\nselect customer_id, nme\nfrom customers\n",
    );
    shop.write("sql/models/ring.sql", "/* ---\nkey = \"customer_id\"\n--- */\nselect customer_id from chain");
    shop.write("sql/models/chain.sql", "/* ---\nkey = \"customer_id\"\n--- */\nselect customer_id from ring");
    shop.write("sql/models/orders.sql", "select 1");
    shop.write("config/sources/shop.toml", "kind = \"htp\"\n");
    let site = shop.docs().await;
    let codes: Vec<&str> = site.failures.iter().map(|failure| failure.diagnosis.code.as_str()).collect();
    for code in ["sql_unknown_column", "cycle", "name_clash", "unknown_table"] {
        assert!(codes.contains(&code), "{code} is not in {codes:?}");
    }
    assert!(site.failures.iter().all(|failure| failure.exit == crate::diagnosis::Exit::Wrong));
    let broken = shop.page("models/customer_features.html");
    assert!(broken.contains("there is no column <code>nme</code>") && broken.contains("line wrong\" id=\"L5\""));
    assert!(shop.page("segments/lapsed.html").contains("it rests on files that cannot be used"));
    assert!(shop.page("models/ring.html").contains("read each other in a circle"));
    let overview = shop.page("index.html");
    assert!(overview.contains("is the name of a table the program makes") && overview.contains("config&#x2f;sources&#x2f;shop.toml"));
}

#[tokio::test]
async fn the_page_of_a_table_that_is_gone_goes() {
    let shop = Shop::practice();
    shop.docs().await;
    fs::remove_file(shop.root.path().join("sql/segments/birthday.sql")).unwrap();
    fs::remove_file(shop.root.path().join("sql/tests/birthday.toml")).unwrap();
    let site = shop.docs().await;
    assert_eq!(site.removed, [PathBuf::from("segments/birthday.html")]);
}
