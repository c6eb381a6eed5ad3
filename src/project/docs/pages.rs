//! Fills the pages in. Values are handed to the templates as they are; escaping is the templates' work, so that none can be forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use minijinja::{Environment, Error, Value, context};
use sha2::{Digest, Sha256};

use super::{
    super::ColumnEntry,
    address,
    facts::{CampaignFacts, Facts, JobEntry, TableFacts, User, place},
    folder::mark,
    lineage::{self, Node},
    listing,
};
use crate::{
    campaign::{Approval, grouped},
    diagnosis::{Finding, Severity},
    model::Kind,
};

const TEMPLATES: [(&str, &str); 7] = [
    ("base.html", include_str!("base.html")),
    ("parts.html", include_str!("parts.html")),
    ("overview.html", include_str!("overview.html")),
    ("table.html", include_str!("table.html")),
    ("campaigns.html", include_str!("campaigns.html")),
    ("owners.html", include_str!("owners.html")),
    ("functions.html", include_str!("functions.html")),
];
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("find.js");

const OVERVIEW: &str = "index.html";
const CAMPAIGNS: &str = "campaigns.html";
const OWNERS: &str = "owners.html";
const FUNCTIONS: &str = "functions.html";

/// The kinds in the order the overview tells them, each with its heading and what it is.
const KINDS: [(Kind, &str, &str, &str); 7] = [
    (
        Kind::Segment,
        "Segment",
        "Segments",
        "People. A campaign writes to those of one; `perennial segment preview NAME` shows who is in it.",
    ),
    (Kind::Metric, "Metric", "Metrics", "Figures. `perennial report NAME` prints them."),
    (Kind::Model, "Model", "Models", "What is worth computing once, for segments and metrics to read."),
    (Kind::Canonical, "Canonical table", "Canonical tables", "The tables every project has, whatever its sources."),
    (
        Kind::Ledger,
        "Ledger table",
        "Ledger tables",
        "What was sent, who must not be written to, control groups, what came back: a snapshot at the start of each build.",
    ),
    (
        Kind::Staging,
        "Staging file",
        "Staging files",
        "One source's rows in the shape of a canonical table, which is the union of its files.",
    ),
    (Kind::Raw, "Raw table", "Raw tables", "What the sources know, as pulled. Only staging reads them."),
];

/// How many characters of a name a box shows.
const LABEL: usize = 28;
/// How many boxes a table's own drawing may have before it shows its nearest only.
const AROUND: usize = 40;

/// All pages, by their place in the site.
///
/// # Errors
/// Where a template is broken.
pub(super) fn write(facts: &Facts) -> Result<BTreeMap<String, String>, Error> {
    let mut env = Environment::new();
    env.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    for (name, text) in TEMPLATES {
        env.add_template(name, text)?;
    }
    let book = Book { facts, edges: facts.reads.iter().copied().chain(campaign_edges(facts)).collect() };
    let mut pages = vec![
        (OVERVIEW.to_owned(), "overview.html", book.overview()),
        (CAMPAIGNS.to_owned(), "campaigns.html", book.campaigns()),
        (OWNERS.to_owned(), "owners.html", book.owners()),
        (FUNCTIONS.to_owned(), "functions.html", book.functions()),
    ];
    pages.extend((0..facts.tables.len()).map(|at| (book.page(at), "table.html", book.table(at))));
    let nav = [(OVERVIEW, "Tables"), (CAMPAIGNS, "Campaigns and jobs"), (OWNERS, "Owners"), (FUNCTIONS, "Functions")];
    let nav = Value::from_iter(nav.map(|(page, name)| context! { page, name }));
    let mut written = BTreeMap::new();
    for (page, template, values) in pages {
        let script = page == OVERVIEW;
        let site = context! {
            page => page.as_str(),
            root => if page.contains('/') { "../" } else { "" },
            brand => facts.brand.as_deref(),
            practice => facts.practice,
            nav => nav.clone(),
            style => Value::from_safe_string(STYLE.to_owned()),
            // The policy of a page lets its own script run and no other.
            script => Value::from_safe_string(SCRIPT.to_owned()),
            script_hash => script.then(|| format!("sha256-{}", STANDARD.encode(Sha256::digest(SCRIPT)))),
        };
        let text = env.get_template(template)?.render(context! { ..values, ..site })?;
        written.insert(page.clone(), mark(&page) + &text);
    }
    Ok(written)
}

/// From each segment to the campaigns that write to it; campaigns stand behind the tables.
fn campaign_edges(facts: &Facts) -> impl Iterator<Item = (usize, usize)> {
    let tables = facts.tables.len();
    facts.campaigns.iter().enumerate().filter_map(move |(at, campaign)| Some((campaign.segment?, tables + at)))
}

/// The facts, and what reads what: tables by their places, then campaigns.
struct Book<'a> {
    facts: &'a Facts,
    edges: BTreeSet<(usize, usize)>,
}

impl Book<'_> {
    fn overview(&self) -> Value {
        let kinds = KINDS.map(|(kind, one, many, about)| {
            let tables: Vec<&TableFacts> = self.facts.tables.iter().filter(|table| table.kind() == kind).collect();
            let count =
                if tables.len() == 1 { format!("1 {}", one.to_lowercase()) } else { format!("{} {}", tables.len(), many.to_lowercase()) };
            context! {
                folder => address::folder(kind),
                many,
                about => words(about),
                count,
                // Staging files are built as parts of other tables, and a fresh clone has been built nowhere.
                known => tables.iter().any(|table| table.is_broken() || table.standing.build.is_some() || table.standing.pull.is_some()),
                owned => tables.iter().any(|table| table.owner.is_some()),
                tables => tables.into_iter().map(row).collect::<Vec<_>>(),
            }
        });
        let drawn: BTreeSet<usize> = self.edges.iter().flat_map(|(from, to)| [*from, *to]).collect();
        context! {
            kinds => kinds.to_vec(),
            findings => self.facts.findings.iter().map(|one| finding(one, None)).collect::<Vec<_>>(),
            broken => self.links((0..self.facts.tables.len()).filter(|at| self.facts.tables[*at].is_broken())),
            drawing => self.drawing(&drawn, &self.edges, None),
        }
    }

    fn table(&self, at: usize) -> Value {
        let table = &self.facts.tables[at];
        let (kind, entry) = (table.kind(), &table.told.entry);
        let (around, near, steps) = self.around(at);
        let readers = self.edges.iter().filter(|(from, _)| *from == at).map(|(_, to)| *to);
        let (campaigns, readers): (Vec<usize>, Vec<usize>) = readers.partition(|to| *to >= self.facts.tables.len());
        let campaigns = campaigns.into_iter().map(|to| &self.facts.campaigns[to - self.facts.tables.len()]);
        let step = if kind == Kind::Raw { "pull" } else { "build" };
        let jobs = self.facts.jobs.iter().filter(|(job, _)| job.steps.iter().any(|one| one == step) && kind != Kind::Staging);
        let files = entry.files.iter().map(|path| context! { path => path.display().to_string(), page => self.page_of(path, at) });
        let wrong = table.findings.iter().filter(|finding| finding.severity == Severity::Error);
        context! {
            name => table.name(),
            kind => kind_facts(kind),
            about => prose(entry.description.as_deref().unwrap_or("Nobody has said yet what it is: a comment at the top of its file would.")),
            key => table.told.key.clone(),
            owner => table.owner.as_deref().map(|name| context! { name, page => format!("{OWNERS}#{}", owner_anchor(name)) }),
            standing => standing(table),
            files => files.collect::<Vec<_>>(),
            broken => table.is_broken(),
            findings => table.findings.iter().map(|one| finding(one, entry.files.first().map(|file| &**file))).collect::<Vec<_>>(),
            waits_for => self.links(table.waits_for.iter().copied()),
            drawing => self.drawing(&around, &near, Some(at)),
            steps,
            reads => self.links(self.edges.iter().filter(|(_, to)| *to == at).map(|(from, _)| *from)),
            unknown => table.unknown.clone(),
            looks_at => self.links(self.facts.audits.iter().filter(|(_, to)| *to == at).map(|(from, _)| *from)),
            readers => self.links(readers.into_iter()),
            looked_at_by => self.links(self.facts.audits.iter().filter(|(from, _)| *from == at).map(|(_, to)| *to)),
            campaigns => campaigns.map(|facts| context! { name => facts.campaign.name.as_str(), page => campaign_page(facts) }).collect::<Vec<_>>(),
            users => table.users.iter().map(|user| words(&user_words(*user, table.name()))).collect::<Vec<_>>(),
            jobs => jobs.map(|(job, _)| job_link(job)).collect::<Vec<_>>(),
            columns => table.told.columns.iter().map(|column| self.column(table, column)).collect::<Vec<_>>(),
            staging => table.told.staging.iter().map(|column| self.column(table, column)).collect::<Vec<_>>(),
            params => table.params.iter().map(|one| context! { name => one.name.as_str(), kind => one.kind.as_str(), default => one.default.as_str() }).collect::<Vec<_>>(),
            bound => table.bound.clone(),
            ages => table.ages.iter().map(|(table, age)| context! { table, age }).collect::<Vec<_>>(),
            audited => table.sql.is_some() && !(table.audits.is_empty() && table.told.key.is_empty()),
            audits => table.audits.clone(),
            tests => table.tests.iter().map(|(file, cases)| context! { file => file.display().to_string(), cases }).collect::<Vec<_>>(),
            sql => table.sql.as_deref().map(listing),
            wrong => wrong.filter_map(|finding| finding.diagnosis.line).collect::<Vec<_>>(),
        }
    }

    fn campaigns(&self) -> Value {
        let campaigns = self.facts.campaigns.iter().map(|facts| {
            let segment = match facts.segment {
                Some(at) => self.link(at),
                None => context! { name => facts.campaign.settings.segment.as_str(), page => () },
            };
            context! {
                anchor => campaign_anchor(&facts.campaign.name),
                name => facts.campaign.name.as_str(),
                about => prose(facts.about.as_deref().unwrap_or_default()),
                segment,
                facts => campaign_facts(facts),
                file => facts.campaign.file().display().to_string(),
            }
        });
        let jobs = self.facts.jobs.iter().map(|(job, about)| {
            context! {
                anchor => job_anchor(&job.name),
                name => job.name.as_str(),
                about => prose(about.as_deref().unwrap_or_default()),
                schedule => job.schedule.as_str(),
                timezone => job.timezone.as_str(),
                steps => job.steps.join(", "),
                deliver => job.deliver,
                file => job.file.display().to_string(),
            }
        });
        context! { campaigns => campaigns.collect::<Vec<_>>(), jobs => jobs.collect::<Vec<_>>() }
    }

    fn owners(&self) -> Value {
        let mut owned: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut nobody = Vec::new();
        for (at, table) in self.facts.tables.iter().enumerate() {
            match &table.owner {
                Some(owner) => owned.entry(owner).or_default().push(at),
                None if table.sql.is_some() => nobody.push(at),
                None => {}
            }
        }
        let owners = owned
            .into_iter()
            .map(|(name, tables)| context! { anchor => owner_anchor(name), name, tables => self.links(tables.into_iter()) });
        context! { owners => owners.collect::<Vec<_>>(), nobody => self.links(nobody.into_iter()) }
    }

    fn functions(&self) -> Value {
        let functions = self.facts.functions.iter().map(|function| {
            let arguments = function.arguments.iter().map(|(name, about)| context! { name, about => words(about) });
            context! {
                syntax => function.syntax.as_str(),
                about => prose(&function.description),
                arguments => arguments.collect::<Vec<_>>(),
                example => function.example.as_deref(),
            }
        });
        context! { functions => functions.collect::<Vec<_>>() }
    }

    /// The page of a table or a campaign.
    fn page(&self, at: usize) -> String {
        match self.facts.tables.get(at) {
            Some(table) => address::page(table.kind(), table.name()),
            None => campaign_page(&self.facts.campaigns[at - self.facts.tables.len()]),
        }
    }

    /// The page of the staging file that stands at a path; none for the page's own file.
    fn page_of(&self, path: &Path, own: usize) -> Option<String> {
        let file = |table: &TableFacts| table.sql.is_some() && table.told.entry.files.first().is_some_and(|file| file == path);
        let at = self.facts.tables.iter().position(file)?;
        (at != own).then(|| self.page(at))
    }

    fn link(&self, at: usize) -> Value {
        let table = &self.facts.tables[at];
        context! { name => table.name(), page => self.page(at), about => words(table.told.entry.sentence()) }
    }

    fn column(&self, table: &TableFacts, column: &ColumnEntry) -> Value {
        let from = table.handed_on.get(&column.name).map(|(at, about)| {
            let from = &self.facts.tables[*at];
            context! { name => from.name(), page => self.page(*at), about => words(about) }
        });
        context! {
            name => column.name.as_str(),
            kind => column.kind.as_str(),
            filled => column.nullable == Some(false),
            about => words(column.description.as_deref().unwrap_or_default()),
            from,
        }
    }

    fn links(&self, tables: impl Iterator<Item = usize>) -> Vec<Value> {
        tables.map(|at| self.link(at)).collect()
    }

    /// What a table's own drawing shows: the nodes it rests on and those that rest on it, with the edges that lead to it or from it, as far
    /// as how many steps away; none where that is all.
    fn around(&self, at: usize) -> (BTreeSet<usize>, BTreeSet<(usize, usize)>, Option<usize>) {
        let (inputs, readers) = (self.rings(at, true), self.rings(at, false));
        let within = |rings: &[BTreeSet<usize>], steps: usize| rings.iter().take(steps + 1).flatten().copied().collect::<BTreeSet<_>>();
        let whole = inputs.len().max(readers.len()) - 1;
        let fits = |steps: &usize| within(&inputs, *steps).len() + within(&readers, *steps).len() <= AROUND;
        let steps = (1..=whole).rev().find(fits).unwrap_or(1);
        let sides = [within(&inputs, steps), within(&readers, steps)];
        let inside = |(from, to): &&(usize, usize)| sides.iter().any(|side| side.contains(from) && side.contains(to));
        let edges: BTreeSet<(usize, usize)> = self.edges.iter().filter(inside).copied().collect();
        // A box alone shows nothing.
        let nodes = if edges.is_empty() { BTreeSet::new() } else { sides.into_iter().flatten().collect() };
        (nodes, edges, (steps < whole).then_some(steps))
    }

    /// The nodes a node rests on, or those that rest on it, by how many steps away they are; the first ring is the node itself.
    fn rings(&self, at: usize, inward: bool) -> Vec<BTreeSet<usize>> {
        let mut rings = vec![BTreeSet::from([at])];
        let mut seen = BTreeSet::from([at]);
        loop {
            let last = &rings[rings.len() - 1];
            let ends = self.edges.iter().map(|(from, to)| if inward { (to, from) } else { (from, to) });
            let next: BTreeSet<usize> = ends.filter(|(here, _)| last.contains(here)).map(|(_, there)| *there).collect();
            let next: BTreeSet<usize> = next.into_iter().filter(|node| seen.insert(*node)).collect();
            if next.is_empty() {
                return rings;
            }
            rings.push(next);
        }
    }

    /// Draws some nodes and some of the edges between them.
    fn drawing(&self, shown: &BTreeSet<usize>, edges: &BTreeSet<(usize, usize)>, here: Option<usize>) -> Value {
        let shown: Vec<usize> = shown.iter().copied().collect();
        let labels: Vec<String> = shown.iter().map(|node| short(self.name(*node))).collect();
        let nodes: Vec<Node> =
            shown.iter().zip(&labels).map(|(node, label)| Node { width: width(label), band: self.band(*node) }).collect();
        let place = |node: &usize| shown.binary_search(node).ok();
        let edges = edges.iter().filter_map(|(from, to)| Some((place(from)?, place(to)?))).collect();
        let drawn = lineage::draw(&nodes, &edges);
        let boxes = drawn.boxes.iter().zip(&shown).zip(labels).map(|((placed, node), label)| {
            let table = self.facts.tables.get(*node);
            let about = table.map_or("a campaign", |table| table.told.entry.sentence());
            context! {
                node,
                x => placed.x,
                y => placed.y,
                width => placed.width,
                height => placed.height,
                label,
                title => format!("{}: {about}", self.name(*node)),
                page => self.page(*node),
                kind => table.map_or("campaigns", |table| address::folder(table.kind())),
                here => here == Some(*node),
                broken => table.is_some_and(TableFacts::is_broken),
            }
        });
        let lines = drawn.lines.iter().map(|line| {
            context! { path => line.path(), from => shown[line.from], to => line.to.iter().map(|to| shown[*to]).collect::<Vec<_>>(), back => line.back }
        });
        let used: BTreeSet<Option<Kind>> = shown.iter().map(|node| self.facts.tables.get(*node).map(TableFacts::kind)).collect();
        let tables = KINDS.iter().rev().filter(|(kind, ..)| used.contains(&Some(*kind)));
        let kinds = tables.map(|(kind, one, ..)| context! { kind => address::folder(*kind), one => *one });
        let kinds = kinds.chain(used.contains(&None).then(|| context! { kind => "campaigns", one => "Campaign" }));
        context! {
            width => drawn.width,
            height => drawn.height,
            boxes => boxes.collect::<Vec<_>>(),
            lines => lines.collect::<Vec<_>>(),
            kinds => kinds.collect::<Vec<_>>(),
        }
    }

    fn name(&self, node: usize) -> &str {
        match self.facts.tables.get(node) {
            Some(table) => table.name(),
            None => &self.facts.campaigns[node - self.facts.tables.len()].campaign.name,
        }
    }

    /// What people look for stands in columns of its own: segments and metrics, then campaigns.
    fn band(&self, node: usize) -> usize {
        match self.facts.tables.get(node).map(TableFacts::kind) {
            Some(Kind::Segment | Kind::Metric) => 1,
            Some(_) => 0,
            None => 2,
        }
    }
}

/// A name as a box shows it.
fn short(name: &str) -> String {
    if name.chars().count() <= LABEL { name.to_owned() } else { name.chars().take(LABEL - 1).chain(['…']).collect() }
}

/// How wide a box must be for a label: the letters of its font are 7.3 pixels wide.
fn width(label: &str) -> i32 {
    let letters = i32::try_from(label.chars().count()).unwrap_or_default();
    (letters * 73 / 10 + 24).max(72)
}

/// A table as the overview tells of it.
fn row(table: &TableFacts) -> Value {
    let entry = &table.told.entry;
    let columns = table.told.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(" ");
    let (owner, description) = (table.owner.as_deref().unwrap_or_default(), entry.description.as_deref().unwrap_or_default());
    let Standing { rows, state, .. } = Standing::of(table);
    context! {
        name => table.name(),
        page => address::page(table.kind(), table.name()),
        about => words(entry.sentence()),
        owner => table.owner.as_deref(),
        rows,
        state => state.map(|state| state.value()),
        broken => table.is_broken(),
        find => format!("{} {} {owner} {description} {columns}", table.name(), table.kind().name()),
    }
}

fn kind_facts(kind: Kind) -> Value {
    let one = KINDS.iter().find(|(other, ..)| *other == kind).map_or("", |(_, one, ..)| one);
    context! { folder => address::folder(kind), one }
}

/// How a table stands, in words.
struct Standing {
    rows: Option<String>,
    as_of: Option<String>,
    state: Option<State>,
}

/// What the last build or pull did.
struct State {
    what: &'static str,
    class: &'static str,
    word: &'static str,
    more: String,
}

impl State {
    fn value(&self) -> Value {
        context! { what => self.what, class => self.class, word => self.word, more => words(&self.more) }
    }
}

impl Standing {
    fn of(table: &TableFacts) -> Self {
        let standing = &table.standing;
        if let Some(pull) = &standing.pull {
            let (class, word, more) = match (&pull.error, pull.finished_at) {
                (Some(error), _) => ("bad", "failed", format!("{}: {error}", moment(pull.started_at))),
                (None, None) => ("warn", "not ended", format!("begun {}", moment(pull.started_at))),
                (None, Some(at)) if pull.quarantined > 0 => {
                    ("warn", "pulled", format!("{}, {} rows set aside", moment(at), count(pull.quarantined)))
                }
                (None, Some(at)) => ("", "pulled", moment(at)),
            };
            let rows = pull.error.is_none().then(|| count(pull.rows));
            return Self { rows, as_of: None, state: Some(State { what: "Last pull", class, word, more }) };
        }
        let state = standing.build.as_ref().map(|build| {
            let (at, outcome) = (moment(build.published_at), &build.outcome);
            let seconds = format!("{:.2} s", outcome.seconds);
            let because = outcome.because.as_deref().unwrap_or_default();
            let stays = if standing.rows.is_some() { "; what stood before stays" } else { "" };
            let (class, word, more) = match outcome.outcome.as_str() {
                "built" => ("", "built", format!("{at}, in {seconds}")),
                "same" => ("", "same rows", format!("{at}, made anew in {seconds}, the same rows as before")),
                "reused" => ("", "unchanged", format!("{at}: nothing it rests on had changed")),
                "blocked" => ("warn", "waits", format!("{at}, for `{because}`{stays}")),
                _ => ("bad", "failed", format!("{at} (`{because}`){stays}. `perennial build {}` says why.", table.name())),
            };
            State { what: "Last build", class, word, more }
        });
        Self { rows: standing.rows.map(count), as_of: standing.as_of.map(moment), state }
    }
}

fn standing(table: &TableFacts) -> Value {
    let Standing { rows, as_of, state } = Standing::of(table);
    // Of a raw table it is known what came, not what is there.
    let rows = rows.filter(|_| table.kind() != Kind::Raw);
    context! { rows, as_of, state => state.map(|mut state| {
        if let (Kind::Raw, Some(pull)) = (table.kind(), table.standing.pull.as_ref().filter(|pull| pull.error.is_none())) {
            state.more = format!("{}; {} rows came", state.more, count(pull.rows));
        }
        state.value()
    }) }
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%F %H:%M UTC").to_string()
}

fn count(number: u64) -> String {
    grouped(usize::try_from(number).unwrap_or(usize::MAX))
}

fn user_words(user: User, table: &str) -> String {
    match user {
        User::Report => format!("`perennial report {table}` prints it"),
        User::CampaignReport => "the report of a campaign: `perennial report campaign NAME`".to_owned(),
        User::Sending => "the program itself: it looks once more at each person when their message is sent".to_owned(),
    }
}

/// A finding; one in the page's own file links to its line.
fn finding(finding: &Finding, own: Option<&Path>) -> Value {
    let diagnosis = &finding.diagnosis;
    context! {
        severity => if finding.severity == Severity::Error { "error" } else { "warning" },
        message => words(&diagnosis.message),
        place => place(diagnosis),
        line => diagnosis.line.filter(|_| own.is_some() && diagnosis.file.as_deref() == own),
        hint => diagnosis.hint.as_deref().map(words),
    }
}

fn listing(sql: &str) -> Vec<Vec<Value>> {
    let piece = |(ink, text): (listing::Ink, &str)| context! { ink => ink.class(), text };
    listing::lines(sql).into_iter().map(|line| line.into_iter().map(piece).collect()).collect()
}

/// A text in its paragraphs; those whose lines are set in stand as they are.
fn prose(text: &str) -> Vec<Value> {
    text.split("\n\n").map(|paragraph| context! { set => paragraph.starts_with("  "), words => words(paragraph) }).collect()
}

/// A text in pieces of words and of `code`; one whose marks do not pair is words.
fn words(text: &str) -> Vec<Value> {
    let pieces: Vec<&str> = text.split('`').collect();
    if pieces.len().is_multiple_of(2) {
        return vec![context! { code => false, text }];
    }
    let pieces = pieces.into_iter().enumerate().filter(|(_, text)| !text.is_empty());
    pieces.map(|(nth, text)| context! { code => nth % 2 == 1, text }).collect()
}

/// What a campaign's settings say, each with its heading.
fn campaign_facts(facts: &CampaignFacts) -> Vec<(&'static str, Vec<Value>)> {
    let settings = &facts.campaign.settings;
    let step = settings.step.as_ref().map(|step| format!(", one letter each `{step}`")).unwrap_or_default();
    let approval = match settings.approval {
        Approval::Review => "a person",
        Approval::Auto => "the program, within its limits",
    };
    let mut told = vec![
        ("Kind", format!("{}, by {}", settings.kind.as_str(), settings.channel.as_str())),
        ("About", format!("`{}`{step}", settings.occasion)),
        ("Approved by", approval.to_owned()),
    ];
    told.extend(settings.goal.map(|goal| ("Goal", format!("an order within {}", goal.within))));
    if settings.policy.holdout.fraction() > 0.0 {
        told.push(("Control group", settings.policy.holdout.to_string()));
    }
    if !settings.variants.is_empty() {
        let variants = settings.variants.iter().map(|(name, weight)| format!("{name} {weight}")).collect::<Vec<_>>();
        told.push(("Variants", variants.join(", ")));
    }
    told.extend(settings.offer.as_ref().map(|offer| ("Offer", offer.text.clone())));
    told.into_iter().map(|(heading, text)| (heading, words(&text))).collect()
}

fn job_link(job: &JobEntry) -> Value {
    context! {
        name => job.name.as_str(),
        page => format!("{CAMPAIGNS}#{}", job_anchor(&job.name)),
        when => format!("{} {}", job.schedule, job.timezone),
    }
}

fn campaign_page(facts: &CampaignFacts) -> String {
    format!("{CAMPAIGNS}#{}", campaign_anchor(&facts.campaign.name))
}

fn campaign_anchor(name: &str) -> String {
    format!("campaign-{}", anchor(name))
}

fn job_anchor(name: &str) -> String {
    format!("job-{}", anchor(name))
}

fn owner_anchor(name: &str) -> String {
    format!("owner-{}", anchor(name))
}

/// A name in a link to a part of a page; names of campaigns have hyphens.
fn anchor(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    // A digest has twelve digits behind its hyphen; a name that looks like it has one of its own.
    let like_digest = name.rsplit('-').next().is_some_and(|end| end.len() == 12);
    if !name.is_empty() && name.chars().all(plain) && !like_digest { name.to_owned() } else { address::stem(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_in_a_text_is_told_apart() {
        let told = |text: &str| {
            let piece = |piece: Value| (piece.get_attr("code").unwrap().is_true(), piece.get_attr("text").unwrap().to_string());
            words(text).into_iter().map(piece).collect::<Vec<_>>()
        };
        assert_eq!(told("as `as_of` says"), [(false, "as ".into()), (true, "as_of".into()), (false, " says".into())]);
        assert_eq!(told("it`s"), [(false, "it`s".into())]);
        assert!(told("").is_empty());
        assert_eq!(
            prose("One.\n\n  a = b\n  c\n\nThree.").iter().map(|one| one.get_attr("set").unwrap().is_true()).collect::<Vec<_>>(),
            [false, true, false]
        );
    }

    #[test]
    fn links_to_parts_of_a_page_are_safe_and_no_two_alike() {
        assert_eq!(anchor("win-back"), "win-back");
        let names = ["Mara <mara@shop.example>", "mara", "Mara", "", "a b", "a\"b", &address::stem("Mara")];
        let anchors: BTreeSet<String> = names.iter().map(|name| anchor(name)).collect();
        assert_eq!(anchors.len(), names.len(), "{anchors:?}");
        assert!(anchors.iter().all(|anchor| anchor.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))));
    }

    #[test]
    fn a_long_name_is_cut_in_its_box() {
        assert_eq!(short("lapsed"), "lapsed");
        let cut = short(&"ü".repeat(80));
        assert!(cut.ends_with('…') && cut.chars().count() == LABEL);
    }
}
