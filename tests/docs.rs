//! `perennial docs`: a site of plain files that tells of every table, wherever the project stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::Folder;

/// All files of a folder, by their place in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(here) = open.pop() {
        for entry in fs::read_dir(here).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else {
                found.insert(entry.strip_prefix(folder).unwrap().to_owned(), fs::read_to_string(&entry).unwrap());
            }
        }
    }
    found
}

/// The values of an attribute in a page.
fn values(page: &str, attribute: &str) -> Vec<String> {
    let mark = format!(" {attribute}=\"");
    page.split(&mark).skip(1).map(|rest| rest.split('"').next().unwrap().replace("&#x2f;", "/")).collect()
}

/// Every link leads to a page that is there, and to a part of it that is there; none leads out of the site.
fn links_resolve(site: &BTreeMap<PathBuf, String>) {
    let ids: BTreeMap<&PathBuf, BTreeSet<String>> =
        site.iter().map(|(path, page)| (path, values(page, "id").into_iter().collect())).collect();
    for (path, page) in site {
        assert_eq!(values(page, "src"), [""; 0], "{}", path.display());
        let own: Vec<String> = values(page, "id");
        assert_eq!(own.len(), ids[path].len(), "{} has an id twice", path.display());
        for link in values(page, "href") {
            assert!(!link.contains(':'), "{} links to {link}", path.display());
            let (file, part) = link.split_once('#').map_or((link.as_str(), None), |(file, part)| (file, Some(part)));
            let mut target = if file.is_empty() { path.clone() } else { path.parent().unwrap().to_owned() };
            for step in file.split('/').filter(|step| !step.is_empty()) {
                if step == ".." {
                    target.pop();
                } else {
                    target.push(step);
                }
            }
            let parts = ids.get(&target).unwrap_or_else(|| panic!("{} links to {link}", path.display()));
            assert!(part.is_none_or(|part| parts.contains(part)), "{} links to {link}", path.display());
        }
    }
}

/// The page of a table that `perennial schema` tells of.
fn page_of(table: &Value) -> PathBuf {
    let kind = match table["kind"].as_str().unwrap() {
        kind @ ("raw" | "canonical" | "ledger") => kind.to_owned(),
        kind => format!("{kind}s"),
    };
    Path::new(&kind).join(format!("{}.html", table["table"].as_str().unwrap()))
}

#[test]
fn a_site_tells_of_every_table_before_and_after_the_first_build() {
    let mut folder = Folder::practice(300);
    let told = folder.json(&["docs"]);
    assert!(!folder.path("data/lake").exists() && !folder.path("data/ledger.db").exists(), "nothing but the site is made");
    let site = files(&folder.path("data/docs"));
    let written: Vec<PathBuf> = told["written"].as_array().unwrap().iter().map(|page| page.as_str().unwrap().into()).collect();
    assert_eq!(written, site.keys().cloned().collect::<Vec<_>>());
    for table in folder.json(&["schema"])["tables"].as_array().unwrap() {
        assert!(site.contains_key(&page_of(table)), "no page of {table}");
    }
    for table in ["shop__orders", "orders", "sends", "customer_features", "lapsed"] {
        let told = folder.json(&["schema", table]);
        for column in told["columns"].as_array().unwrap() {
            let name = column["name"].as_str().unwrap();
            assert!(site[&page_of(&told)].contains(&format!("<th scope=\"row\"><code>{name}</code></th>")), "{name} of {table}");
        }
    }
    links_resolve(&site);
    folder.json(&["docs"]);
    assert_eq!(files(&folder.path("data/docs")), site, "the same project, the same bytes");

    folder.json(&["pull"]);
    folder.json(&["build"]);
    let people = folder.json(&["query", "select count(*) as n from customer_features"])[0]["n"].as_u64().unwrap();
    folder.set("PERENNIAL__LAKE__READ_ONLY", "true");
    folder.json(&["docs", "--out", folder.path("site").to_str().unwrap()]);
    let built = files(&folder.path("site"));
    assert_eq!(built.keys().collect::<Vec<_>>(), site.keys().collect::<Vec<_>>());
    links_resolve(&built);
    let page = &built[Path::new("models/customer_features.html")];
    assert!(page.contains(&format!("<dt>Rows</dt><dd>{people} ")) && page.contains(">built</span>"), "{page}");
    assert!(built[Path::new("raw/shop__orders.html")].contains("rows came"));
    folder.json(&["docs", "--out", folder.path("site").to_str().unwrap()]);
    assert_eq!(files(&folder.path("site")), built, "nothing happened in between");
}

#[test]
fn what_is_wrong_is_told_and_the_rest_is_written() {
    let folder = Folder::practice(300);
    folder.json(&["docs"]);
    folder.edit("sql/segments/lapsed.sql", "f.quiet_days,", "f.quiet_dayz,");
    fs::remove_file(folder.path("sql/segments/birthday.sql")).unwrap();
    fs::write(folder.path("data/docs/segments/mine.html"), "mine").unwrap();
    let told = folder.run(&["docs", "--format", "json"]).ended(2).json();
    assert_eq!((&told["error"]["code"], &told["error"]["line"]), (&"sql_unknown_column".into(), &32.into()), "{}", told["error"]);
    assert_eq!(told["removed"], serde_json::json!(["segments/birthday.html"]));
    let site = files(&folder.path("data/docs"));
    assert!(site[Path::new("segments/lapsed.html")].contains("there is no column <code>quiet_dayz</code>"));
    assert_eq!(site[Path::new("segments/mine.html")], "mine");
    links_resolve(&site);

    fs::write(folder.path("index.html"), "mine").unwrap();
    let refused = folder.run(&["docs", "--format", "json", "--out", folder.root.path().to_str().unwrap()]).ended(2).json();
    assert_eq!(refused["error"]["code"], "exists");
    assert_eq!(fs::read_to_string(folder.path("index.html")).unwrap(), "mine");
}
