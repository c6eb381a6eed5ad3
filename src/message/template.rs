use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as _,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use minijinja::{AutoEscape, Environment, ErrorKind, Value};

use super::{
    Brand, Channel, Envelope, Message, MessageError, Row,
    context::{self, Context, Missing, Of, Wanted},
    email, filters,
    html::{self, Compiled},
    locale, sample,
    scan::{self, Names},
    text, webhook,
};
use crate::{
    config::nearest,
    diagnosis::{Diagnosis, Finding},
};

const HTML: &str = "email.html";
const TEXT: &str = "email.txt";
const SUBJECT: &str = "subject";
const PREVIEW: &str = "preview";
const WEBHOOK: &str = "webhook.json";
const WAY_OUT: &str = "unsubscribe_url";

/// How many characters of a subject a telephone shows.
const SUBJECT_LENGTH: usize = 50;

/// A campaign's templates, compiled once; filling them in for a person is cheap. Shared between threads.
#[derive(Clone)]
pub struct Templates(Arc<Inner>);

struct Inner {
    env: Environment<'static>,
    brand: Brand,
    /// What templates see beside the person and the message.
    fixed: Vec<(&'static str, Value)>,
    /// The value of `From`.
    sender: String,
    practice: bool,
    channel: Channel,
    language: String,
    /// Words email.txt makes for all parts: their names, and their templates' names.
    words: Vec<(String, String)>,
    /// The names whose values are where the letter's links lead.
    links: BTreeSet<String>,
    wanted: Wanted,
    files: Vec<File>,
}

/// A template file as it was written.
struct File {
    path: PathBuf,
    source: String,
    names: Names,
    /// The names its templates have in the environment, and where their lines come from; none where they are the file's own.
    templates: Vec<(String, Option<Compiled>)>,
}

impl File {
    fn read(folder: &Path, name: &str) -> Result<Option<Self>, MessageError> {
        let path = folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(source) => {
                let source = source.replace("\r\n", "\n");
                Ok(Some(Self { names: scan::names(&source), path, source, templates: Vec::new() }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(MessageError(
                Diagnosis::new("unreadable", format!("cannot be read: {error}"))
                    .in_file(path)
                    .hint("check that the program's user may read it, and that it is UTF-8"),
            )),
        }
    }

    fn wrong(&self, code: &str, message: String, offset: usize) -> Diagnosis {
        let (line, column) = scan::place(&self.source, offset);
        Diagnosis::new(code, message).in_file(&self.path).at(line, column)
    }
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.files.iter().map(|file| &file.path)).finish()
    }
}

impl Templates {
    /// Reads `email.mjml` (or `email.html`) and `email.txt`, or `webhook.json`, from a campaign's folder (or a plan's frozen copy).
    ///
    /// # Errors
    /// Where a file is missing or cannot be read as what it is, or the brand cannot sign a letter.
    pub fn load(folder: &Path, channel: Channel, brand: &Brand, practice: bool) -> Result<Self, MessageError> {
        let settings = |diagnosis: Diagnosis| MessageError(diagnosis.in_file("config/perennial.toml"));
        if let Some(found) = brand.findings().into_iter().next() {
            return Err(settings(found));
        }
        let Some(sender) = brand.sender().and_then(|sender| email::sender(&sender)) else {
            return Err(settings(Diagnosis::new("brand", "`from` in [brand] is not an address")));
        };
        let mut env = Environment::new();
        filters::install(&mut env);
        env.set_auto_escape_callback(|name| match name {
            HTML => AutoEscape::Html,
            WEBHOOK => filters::JSON,
            _ => AutoEscape::None,
        });
        let mut made = Inner {
            env,
            brand: brand.clone(),
            fixed: vec![("brand", brand_value(brand)), ("practice", Value::from(practice))],
            sender,
            practice,
            channel,
            language: locale::language(&brand.locale),
            words: Vec::new(),
            links: BTreeSet::new(),
            wanted: Wanted::default(),
            files: Vec::new(),
        };
        match channel {
            Channel::Email => made.email(folder)?,
            Channel::Webhook => made.webhook(folder)?,
        }
        made.wanted = Wanted::new(made.files.iter().flat_map(|file| scan::words(&file.source)));
        Ok(Self(Arc::new(made)))
    }

    /// The columns the templates need without a default; a null in one of them excludes the person (`missing_field:<name>`).
    #[must_use]
    pub fn required(&self) -> Vec<String> {
        self.columns(|found| found.needed)
    }

    /// All columns the templates mention.
    #[must_use]
    pub fn mentioned(&self) -> Vec<String> {
        self.columns(|_| true)
    }

    fn columns(&self, wanted: impl Fn(&scan::Use) -> bool) -> Vec<String> {
        let uses = self.0.files.iter().flat_map(|file| &file.names.uses);
        let names = uses.filter(|found| wanted(found) && !self.0.beside(&found.name));
        names.map(|found| found.name.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The columns whose values are where the letter's links lead. A value that is not usable as a link counts as null.
    #[must_use]
    pub fn links(&self) -> &BTreeSet<String> {
        &self.0.links
    }

    /// The first part without the way out, and what to add to it.
    #[must_use]
    pub fn without_way_out(&self) -> Option<Diagnosis> {
        let shows = |file: &&File| file.names.uses.iter().any(|found| found.name == WAY_OUT);
        let file = self.0.files.iter().find(|file| !shows(file))?;
        let line = match file.path.ends_with(TEXT) {
            true => "Stop letters from us: {{ unsubscribe_url }}",
            false => "<a href=\"{{ unsubscribe_url }}\">Stop letters from us</a>",
        };
        let lacking = Diagnosis::new("no_way_out", "the letter does not show how to stop it; every letter to a person must");
        Some(lacking.in_file(&file.path).hint(format!("add at its foot: {line}")))
    }

    /// Whether the templates fit a segment's columns: unknown columns are errors with file, line and the nearest name; then every step
    /// and variant is filled in once with made-up values of the columns' types.
    #[must_use]
    pub fn check(&self, columns: &SchemaRef) -> Vec<Finding> {
        let known: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
        let mut found = Vec::new();
        for file in &self.0.files {
            let mut told = BTreeSet::new();
            for used in &file.names.uses {
                let name = used.name.as_str();
                if known.contains(&name) || self.0.beside(name) || !told.insert(name) {
                    continue;
                }
                let message = format!("the template names `{name}`, which the segment does not have");
                let near = nearest(name, known.iter().copied().chain(context::BESIDE));
                let hint = near.map_or_else(|| format!("the segment has: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
                found.push(Finding::error(file.wrong("template_field", message, used.offset).hint(hint)));
            }
        }
        if found.is_empty() {
            self.try_out(columns, &mut found);
        }
        if self.0.channel == Channel::Email && self.0.files.iter().all(|file| !file.path.ends_with(TEXT)) {
            let missing = Diagnosis::new("no_text_part", "there is no email.txt; the text part is made from the HTML")
                .in_file(&self.0.files[0].path)
                .hint("write one: many people read it, and it is kinder than what a program makes");
            found.push(Finding::warning(missing));
        }
        found
    }

    fn try_out(&self, columns: &SchemaRef, found: &mut Vec<Finding>) {
        for made in self.samples(columns) {
            match made {
                Ok(Message::Email { subject, .. }) if subject.chars().count() > SUBJECT_LENGTH => {
                    let message = format!("the subject has {} characters: {subject}", subject.chars().count());
                    let long = Diagnosis::new("subject_long", message).in_file(&self.0.files[0].path);
                    let hint = format!("telephones show {SUBJECT_LENGTH}; say the most important thing first, or less");
                    push(found, Finding::warning(long.hint(hint)));
                }
                Ok(_) => {}
                Err(error) => push(found, Finding::error(error.0)),
            }
        }
    }

    /// The messages of every step and variant, filled in with made-up values of the columns' types.
    pub fn samples(&self, columns: &SchemaRef) -> impl Iterator<Item = Result<Message, MessageError>> {
        let row = sample::row(columns, &self.0.links);
        let variants = self.0.files.iter().flat_map(|file| &file.names.variants).map(|variant| Some(variant.clone()));
        let variants: BTreeSet<Option<String>> = variants.chain([None]).collect();
        // Notes to staff travel as webhooks; every email is to a person.
        let way_out = self.0.channel == Channel::Email;
        (1..=4).flat_map(move |step| {
            let made = variants.iter().map(|variant| self.render(&row, &sample::envelope(step, variant.clone(), way_out)));
            made.collect::<Vec<_>>()
        })
    }

    /// Fills the templates in for one person. The same row and envelope make the same bytes.
    ///
    /// # Errors
    /// Where the row lacks what the letter needs ([`MessageError::missing_field`]), or a value cannot be shown.
    pub fn render(&self, row: &Row, envelope: &Envelope) -> Result<Message, MessageError> {
        let made = &*self.0;
        let of = Of { brand: &made.brand, language: &made.language, channel: made.channel, links: &made.links, fixed: &made.fixed };
        let mut context = Context::new(row, envelope, &made.wanted, &of);
        if made.channel == Channel::Webhook {
            let filled = made.fill(WEBHOOK, &context)?;
            let body = webhook::finish(&filled, made.practice).map_err(|error| made.place(error))?;
            return Ok(Message::Webhook { body });
        }
        let written = made.env.get_template(SUBJECT).is_ok();
        let line = |name: &str, context: &Context| made.fill(name, context).map(|text| context::clean(&text).into_owned());
        for (name, template) in &made.words {
            let words = line(template, &context)?;
            context.set(name, Value::from(words));
        }
        let (mut subject, mut preview) = (String::new(), String::new());
        if written {
            subject = line(SUBJECT, &context)?;
            preview = line(PREVIEW, &context)?;
            context.set(SUBJECT, Value::from(subject.as_str()));
            context.set(PREVIEW, Value::from(preview.as_str()));
        } else {
            context.set(SUBJECT, Missing::value(SUBJECT, &context.holes));
            context.set(PREVIEW, Missing::value(PREVIEW, &context.holes));
        }
        let html = made.fill(HTML, &context)?;
        let text = if written {
            text::tidy(&made.fill(TEXT, &context)?)
        } else {
            subject = context::clean(&title(&html)).into_owned();
            preview.clear();
            html2text::from_read(html.as_bytes(), 78).map(|text| text::tidy(&text)).map_err(|error| {
                made.place(MessageError(Diagnosis::new("text_part", format!("no text part can be made from the HTML: {error}"))))
            })?
        };
        if subject.is_empty() {
            let empty = Diagnosis::new("subject_empty", "the subject is empty for this person")
                .hint("look at the conditions in the `Subject:` of email.txt (or the `<mj-title>`): some step or variant has no words");
            return Err(made.place(MessageError(empty)));
        }
        let text = if made.practice { format!("{PRACTICE}\n\n{text}") } else { text };
        let parts = email::Parts {
            sender: &made.sender,
            name: context.full_name(),
            brand_name: &made.brand.name,
            domain: &made.brand.domain,
            language: &made.language,
            subject: &subject,
            text: &text,
            html: &html,
            practice: made.practice,
        };
        let bytes = email::build(&parts, envelope)?;
        Ok(Message::Email { subject, preview, html, text, bytes })
    }
}

fn push(found: &mut Vec<Finding>, finding: Finding) {
    if !found.contains(&finding) {
        found.push(finding);
    }
}

/// What a letter made of practice data says of itself.
const PRACTICE: &str = "PRACTICE DATA: the people and orders in this letter are invented.";

fn brand_value(brand: &Brand) -> Value {
    let text = |text: &str| Value::from(text);
    Value::from(BTreeMap::from([
        ("name", text(&brand.name)),
        ("url", text(&brand.url)),
        ("domain", text(&brand.domain)),
        ("from", text(&brand.from)),
        ("locale", text(&brand.locale)),
        ("timezone", text(&brand.timezone)),
        ("currency", text(&brand.currency)),
        ("color", text(&brand.color)),
        ("ink", text(brand.ink())),
        ("signed_by", text(&brand.signed_by)),
        ("postal_address", brand.postal_address.iter().map(|line| text(line.trim())).collect()),
        // A telephone number stays on one line.
        ("phone", brand.phone.as_deref().map_or_else(|| Value::from(()), |phone| text(&phone.replace(' ', "\u{a0}")))),
    ]))
}

/// The words of `<title>`, for letters without an `email.txt`.
fn title(html: &str) -> String {
    let inside = html.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map_or("", |(title, _)| title);
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
        .iter()
        .fold(inside.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}

impl Inner {
    fn email(&mut self, folder: &Path) -> Result<(), MessageError> {
        let mut markup = match (File::read(folder, "email.mjml")?, File::read(folder, HTML)?) {
            (Some(file), None) | (None, Some(file)) => file,
            (Some(file), Some(_)) => {
                return Err(MessageError(
                    Diagnosis::new("two_templates", "stands beside an email.html; only one of them can be the letter")
                        .in_file(file.path)
                        .hint("remove the one you do not want"),
                ));
            }
            (None, None) => return Err(absent(folder, "email.mjml")),
        };
        let letter = File::read(folder, TEXT)?;
        self.inspect(&markup)?;
        let compiled = if markup.path.extension().is_some_and(|ending| ending == "mjml") {
            html::mjml(&markup.source, &markup.path)?
        } else {
            html::html(&markup.source, &markup.path)?
        };
        self.links.extend(compiled.links.iter().cloned());
        let compiled = if self.practice { marked(compiled) } else { compiled };
        self.add(&markup, HTML, compiled.template.clone())?;
        markup.templates.push((HTML.to_owned(), Some(compiled)));
        if let Some(mut file) = letter {
            self.inspect(&file)?;
            let letter = text::letter(&file.source, &file.path)?;
            if let Some(language) = letter.language {
                if locale::find(&language).is_none() {
                    let unknown = Diagnosis::new("letter_header", format!("`{language}` is not a language known here"));
                    return Err(MessageError(unknown.in_file(&file.path).hint("write `Language: en`")));
                }
                self.language = language;
            }
            let fixed = [(SUBJECT, letter.subject), (PREVIEW, letter.preview), (TEXT, letter.body)];
            let mut templates: Vec<(String, String)> = fixed.map(|(name, template)| (name.to_owned(), template)).into();
            for (name, template) in letter.words {
                let own = format!("let {name}");
                templates.push((own.clone(), template));
                self.words.push((name, own));
            }
            for (name, template) in templates {
                self.add(&file, &name, template)?;
                file.templates.push((name, None));
            }
            self.files.push(file);
        }
        self.files.push(markup);
        Ok(())
    }

    fn webhook(&mut self, folder: &Path) -> Result<(), MessageError> {
        let mut file = File::read(folder, WEBHOOK)?.ok_or_else(|| absent(folder, WEBHOOK))?;
        self.inspect(&file)?;
        self.add(&file, WEBHOOK, webhook::prepare(&file.source))?;
        file.templates.push((WEBHOOK.to_owned(), None));
        self.files.push(file);
        Ok(())
    }

    /// Whether a name comes from the program or from the letter itself, not from the segment.
    fn beside(&self, name: &str) -> bool {
        context::BESIDE.contains(&name) || self.words.iter().any(|(word, _)| word == name)
    }

    fn add(&mut self, file: &File, name: &str, template: String) -> Result<(), MessageError> {
        self.env.add_template_owned(name.to_owned(), template).map_err(|error| MessageError(syntax(file, &error)))
    }

    /// What can be said of a file before anything is made of it.
    fn inspect(&self, file: &File) -> Result<(), MessageError> {
        if let Err(error) = self.env.template_from_named_str("file", &file.source) {
            return Err(MessageError(syntax(file, &error)));
        }
        if let Some((word, offset)) = file.names.reaches_out.first() {
            let message = format!("`{{% {word} %}}` would reach outside this file");
            let hint = "write the text here: a plan freezes what it was reviewed with, so every letter stands by itself";
            return Err(MessageError(file.wrong("template_include", message, *offset).hint(hint)));
        }
        let mut state = self.env.empty_state();
        for (filter, offset) in &file.names.filters {
            let unknown = matches!(state.apply_filter(filter, &[]), Err(error) if error.kind() == ErrorKind::UnknownFilter);
            if unknown {
                let near = nearest(filter, FILTERS.into_iter());
                let hint = near.map_or_else(|| format!("filters: {}", FILTERS.join(", ")), |near| format!("did you mean `{near}`?"));
                return Err(MessageError(file.wrong("template_filter", format!("there is no filter `{filter}`"), *offset).hint(hint)));
            }
        }
        for (function, offset) in &file.names.functions {
            if !filters::FUNCTIONS.contains(&function.as_str()) {
                let near = nearest(function, filters::FUNCTIONS.into_iter());
                let hint = near.map_or_else(|| "functions: greeting, full_name".to_owned(), |near| format!("did you mean `{near}`?"));
                return Err(MessageError(
                    file.wrong("template_function", format!("there is no function `{function}`"), *offset).hint(hint),
                ));
            }
        }
        Ok(())
    }

    /// Fills one template in.
    fn fill(&self, name: &str, context: &Context) -> Result<String, MessageError> {
        let filled = self.env.get_template(name).and_then(|template| template.render(context.value()));
        let hole = match &filled {
            Ok(_) => context.holes.first(),
            Err(error) => {
                let printed = error.source().and_then(|source| source.downcast_ref::<filters::Hole>()).map(|hole| hole.0.clone());
                // A null no one printed can still be what went wrong: `usual_days / 7`.
                printed.or_else(|| context.holes.first()).or_else(|| self.needs(context))
            }
        };
        match (hole, filled) {
            (None, Ok(text)) => Ok(text),
            (Some(hole), Ok(_)) => Err(MessageError(self.locate(MessageError::missing(&hole), name, None))),
            (Some(hole), Err(error)) => Err(MessageError(self.locate(MessageError::missing(&hole), name, error.line()))),
            (None, Err(error)) => Err(MessageError(self.locate(said(&error), name, error.line()))),
        }
    }

    /// A column the templates cannot do without, and this person has to.
    fn needs(&self, context: &Context) -> Option<String> {
        let uses = self.files.iter().flat_map(|file| &file.names.uses);
        uses.filter(|found| found.needed).find(|found| context.is_missing(&found.name)).map(|found| found.name.clone())
    }

    /// The file and line behind a line of a template.
    fn locate(&self, diagnosis: Diagnosis, name: &str, line: Option<usize>) -> Diagnosis {
        for file in &self.files {
            for (known, compiled) in &file.templates {
                if *known == name {
                    let line = line.map(|line| compiled.as_ref().map_or(line, |compiled| compiled.origin(line)));
                    return Diagnosis { file: Some(file.path.clone()), line, ..diagnosis };
                }
            }
        }
        diagnosis
    }

    fn place(&self, error: MessageError) -> MessageError {
        match self.files.first() {
            Some(file) => MessageError(error.0.in_file(&file.path)),
            None => error,
        }
    }
}

const FILTERS: [&str; 25] = [
    "date",
    "days_later",
    "money",
    "number",
    "plural",
    "url",
    "bdi",
    "tojson",
    "default",
    "upper",
    "lower",
    "title",
    "capitalize",
    "replace",
    "trim",
    "join",
    "first",
    "last",
    "length",
    "round",
    "int",
    "abs",
    "escape",
    "safe",
    "string",
];

fn absent(folder: &Path, name: &str) -> MessageError {
    MessageError(
        Diagnosis::new("no_template", "is missing")
            .in_file(folder.join(name))
            .hint("an email campaign has email.mjml (or email.html) and email.txt, a webhook campaign has webhook.json"),
    )
}

/// A template that cannot be read.
fn syntax(file: &File, error: &minijinja::Error) -> Diagnosis {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let diagnosis = Diagnosis::new("template_syntax", format!("this template cannot be read: {detail}"))
        .in_file(&file.path)
        .hint("every `{{` needs its `}}`, every `{% if … %}` its `{% endif %}`");
    match error.line() {
        Some(line) => diagnosis.at(line, 1),
        None => diagnosis,
    }
}

/// What went wrong while a template was filled in, in a person's words.
fn said(error: &minijinja::Error) -> Diagnosis {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.kind() {
        ErrorKind::UndefinedError => {
            Diagnosis::new("template_field", format!("the template names something this row does not have: {detail}"))
                .hint("`perennial check` names it")
        }
        ErrorKind::OutOfFuel => {
            Diagnosis::new("template_fuel", "the template works too long on one person").hint("look for a loop over too many things")
        }
        _ => Diagnosis::new("template_value", format!("the template cannot be filled in: {detail}"))
            .hint("look at this line, and at the type of the column it shows"),
    }
}

/// Puts the practice line where nobody can miss it: first in the body.
fn marked(compiled: Compiled) -> Compiled {
    let banner = format!(
        "<div role=\"note\" style=\"background:#ffdd57;color:#1c1c1c;font:bold 16px/1.4 Helvetica,Arial,sans-serif;padding:10px 16px;\
         text-align:center;\">{PRACTICE}</div>"
    );
    let template = &compiled.template;
    let at = template.find("<body").and_then(|body| template[body..].find('>').map(|end| body + end + 1)).unwrap_or(0);
    Compiled { template: format!("{}{banner}{}", &template[..at], &template[at..]), ..compiled }
}
