//! What can be known to be wrong between a campaign, its segment's columns and its templates before anybody is planned.

use arrow::{
    compute::can_cast_types,
    datatypes::{DataType, Schema},
};

use super::{Campaign, segment::can_be_occasion};
use crate::{
    config::{Folder, locate, nearest},
    diagnosis::{Diagnosis, Finding},
    message::{Channel, Templates},
};

impl Campaign {
    /// What the campaign asks of its segment and the segment does not have.
    #[must_use]
    pub fn check_columns(&self, project: &Folder, columns: &Schema) -> Vec<Finding> {
        let settings = &self.settings;
        let mut found = Vec::new();
        match columns.field_with_name(&settings.occasion).map(|field| field.data_type()) {
            Err(_) => found.push(self.lacks(project, columns, "occasion", &settings.occasion)),
            Ok(kind) if !can_be_occasion(kind) => {
                let message = format!("the column `{}` is of type {kind}, which no occasion can be", settings.occasion);
                let diagnosis = Diagnosis::new("occasion_type", message).hint("an occasion is an id, a whole number, a date or an instant");
                found.push(Finding::error(self.at_key(project, "occasion", diagnosis)));
            }
            Ok(_) => {}
        }
        if let Some(step) = &settings.step {
            match columns.field_with_name(step).map(|field| field.data_type()) {
                Err(_) => found.push(self.lacks(project, columns, "step", step)),
                Ok(kind) if !can_cast_types(kind, &DataType::Int64) => {
                    let message = format!("the column `{step}` is of type {kind}, which no step can be");
                    let diagnosis = Diagnosis::new("step_type", message).hint("a step is a whole number: 1 for the first letter, then 2");
                    found.push(Finding::error(self.at_key(project, "step", diagnosis)));
                }
                Ok(_) => {}
            }
        }
        if settings.channel == Channel::Email && columns.field_with_name("email").is_err() {
            found.push(self.lacks(project, columns, "channel", "email"));
        }
        found
    }

    /// A letter to a person without the link that makes the letters stop.
    #[must_use]
    pub fn check_way_out(&self, templates: &Templates) -> Option<Finding> {
        if !self.settings.kind.has_way_out(self.settings.channel) {
            return None;
        }
        let lacking = templates.without_way_out()?;
        let file = lacking.file.as_deref().and_then(|file| file.file_name()).map(|name| self.folder.join(name));
        Some(Finding::error(Diagnosis { file, ..lacking }))
    }

    /// A complaint about the value of a key of `campaign.toml`, at its line.
    #[must_use]
    pub fn at_key(&self, project: &Folder, key: &str, diagnosis: Diagnosis) -> Diagnosis {
        let place = project.text(&self.file()).ok().and_then(|text| locate(&text, &[key]));
        let diagnosis = diagnosis.in_file(self.file());
        match place {
            Some((line, column)) => diagnosis.at(line, column),
            None => diagnosis,
        }
    }

    fn lacks(&self, project: &Folder, columns: &Schema, key: &str, column: &str) -> Finding {
        let segment = &self.settings.segment;
        let known: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
        let hint = match nearest(column, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? Otherwise add the column to sql/segments/{segment}.sql"),
            None => format!("add the column to sql/segments/{segment}.sql; it has: {}", known.join(", ")),
        };
        let diagnosis = Diagnosis::new("missing_column", format!("the segment `{segment}` has no column `{column}`")).hint(hint);
        Finding::error(self.at_key(project, key, diagnosis))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::datatypes::Field;

    use super::*;
    use crate::campaign::{CAMPAIGNS, settings};

    const TEXT: &str = "segment = \"lapsed\"\nkind = \"marketing\"\nchannel = \"email\"\noccasion = \"last_order_id\"\nstep = \"step\"\n\
                        approval = \"review\"\nreply_to = \"a@b.example\"\n";

    fn campaign(text: &str) -> (tempfile::TempDir, Folder, Campaign) {
        let root = tempfile::tempdir().unwrap();
        let folder = Path::new(CAMPAIGNS).join("win-back");
        std::fs::create_dir_all(root.path().join(&folder)).unwrap();
        std::fs::write(root.path().join(&folder).join("campaign.toml"), text).unwrap();
        let settings = settings::read(text, Path::new("campaign.toml")).unwrap();
        let project = Folder::new(root.path(), None, std::iter::empty());
        (root, project, Campaign { name: "win-back".to_owned(), folder, settings })
    }

    fn found(text: &str, columns: &[(&str, DataType)]) -> Vec<(String, Option<usize>, String)> {
        let (_root, project, campaign) = campaign(text);
        let columns = Schema::new(columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>());
        let findings = campaign.check_columns(&project, &columns);
        findings.into_iter().map(|one| (one.diagnosis.code, one.diagnosis.line, one.diagnosis.hint.unwrap())).collect()
    }

    #[test]
    fn a_column_the_campaign_names_is_in_its_segment() {
        let id = ("customer_id", DataType::Utf8);
        let all = [id.clone(), ("email", DataType::Utf8), ("last_order_id", DataType::Utf8), ("step", DataType::Int64)];
        assert_eq!(found(TEXT, &all), []);
        let near = [id.clone(), ("e_mail", DataType::Utf8), ("last_order", DataType::Utf8), ("steps", DataType::Int64)];
        let told = found(TEXT, &near);
        assert_eq!(
            told.iter().map(|one| (one.0.as_str(), one.1)).collect::<Vec<_>>(),
            [("missing_column", Some(4)), ("missing_column", Some(5)), ("missing_column", Some(3))]
        );
        for (told, near) in told.iter().zip(["last_order", "steps", "e_mail"]) {
            assert!(told.2.starts_with(&format!("did you mean `{near}`?")), "{told:?}");
        }
        let types = [id.clone(), ("email", DataType::Utf8), ("last_order_id", DataType::Float64), ("step", DataType::Binary)];
        let told = found(TEXT, &types);
        assert_eq!(told[0].0, "occasion_type");
        let staff = TEXT.replace("marketing", "internal").replace("\"email\"", "\"webhook\"");
        assert_eq!(found(&staff, &[id, ("last_order_id", DataType::Utf8), ("step", DataType::Int64)]), []);
    }

    #[test]
    fn a_letter_to_a_person_shows_the_way_out_in_every_part() {
        let brand = serde_json::from_value(serde_json::json!({
            "name": "Fernwood", "url": "https://fernwood.example", "domain": "fernwood.example", "from": "hello@fernwood.example",
            "postal_address": ["1 Mill Lane"], "locale": "en-GB", "timezone": "Europe/Berlin", "currency": "EUR", "signed_by": "Mara"
        }))
        .unwrap();
        let told = |text: &str, in_html: &str, in_text: &str| {
            let (root, _, campaign) = campaign(text);
            let folder = root.path().join(&campaign.folder);
            std::fs::write(
                folder.join("email.html"),
                format!("<html><head><title>x</title></head><body><p>Hello</p>{in_html}</body></html>"),
            )
            .unwrap();
            std::fs::write(folder.join("email.txt"), format!("Subject: Hello\nPreview: there\n\nHello.\n{in_text}\n")).unwrap();
            let templates = Templates::load(&folder, campaign.settings.channel, &brand, false).unwrap();
            campaign.check_way_out(&templates).map(|finding| finding.diagnosis)
        };
        let (html, text) = ("<a href=\"{{ unsubscribe_url }}\">No more letters</a>", "{{ unsubscribe_url }}");
        assert_eq!(told(TEXT, html, text), None);
        let missing = told(TEXT, html, "").unwrap();
        assert_eq!((missing.code.as_str(), missing.file.as_deref()), ("no_way_out", Some(Path::new("jobs/campaigns/win-back/email.txt"))));
        assert_eq!(told(TEXT, "", text).unwrap().file.as_deref(), Some(Path::new("jobs/campaigns/win-back/email.html")));
        assert_eq!(told(&TEXT.replace("marketing", "service"), "", text).unwrap().code, "no_way_out");
    }
}
