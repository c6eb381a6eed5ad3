use lettre::message::Mailbox;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::diagnosis::Diagnosis;

/// `[brand]` in `config/perennial.toml`: who writes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Brand {
    /// The shop's name.
    pub name: String,
    /// The shop's page, https.
    pub url: String,
    /// The domain of message ids, unsubscribe links aside.
    pub domain: String,
    /// The sender, `Name <address>` or an address.
    pub from: String,
    /// The postal address, one line a line.
    pub postal_address: Vec<String>,
    /// The default locale, BCP 47: `en-GB`.
    pub locale: String,
    /// The default time zone, IANA: `Europe/Berlin`.
    pub timezone: String,
    /// The currency of `*_base`, ISO 4217.
    pub currency: String,
    /// The accent colour of mails and pages, `#rrggbb`.
    #[serde(default = "default_color")]
    pub color: String,
    /// Who signs the letters: a person's first name and role, such as `"Mara, customer care"`.
    pub signed_by: String,
    /// A telephone number people can call, where there is one.
    #[serde(default)]
    pub phone: Option<String>,
}

fn default_color() -> String {
    "#2f5d50".to_owned()
}

impl Brand {
    /// What is wrong with these settings, beyond their shape; nothing where letters can be written with them.
    #[must_use]
    pub fn findings(&self) -> Vec<Diagnosis> {
        let mut found = Vec::new();
        let mut wrong = |key: &str, message: &str, hint: &str| {
            found.push(Diagnosis::new("brand", format!("`{key}` in [brand] {message}")).hint(hint));
        };
        if self.sender().is_none() {
            wrong("from", "is not an address", "write `Fernwood <hello@fernwood.example>`");
        }
        if !self.url.starts_with("https://") || url::Url::parse(&self.url).is_err() {
            wrong("url", "is not an https address", "write the whole address, such as `https://fernwood.example`");
        }
        let host = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        if !self.domain.contains('.') || !self.domain.chars().all(host) {
            wrong("domain", "is not a domain", "write it bare, such as `fernwood.example`");
        }
        if self.postal_address.iter().all(|line| line.trim().is_empty()) {
            wrong("postal_address", "is empty", "the law asks for a postal address in every letter; one line of it a line");
        }
        if self.timezone.parse::<chrono_tz::Tz>().is_err() {
            wrong("timezone", "is not a time zone", "write an IANA name, such as `Europe/Berlin`");
        }
        if super::locale::find(&self.locale).is_none() {
            wrong("locale", "is not a locale known here", "write a language and a country, such as `en-GB`");
        }
        if self.currency.len() != 3 || !self.currency.chars().all(|c| c.is_ascii_uppercase()) {
            wrong("currency", "is not a currency", "write its three capital letters, such as `EUR`");
        }
        if luminance(&self.color).is_none() {
            wrong("color", "is not a colour", "write `#` and six digits, such as `#2f5d50`");
        }
        found
    }

    /// The sender as a mailbox.
    pub(super) fn sender(&self) -> Option<Mailbox> {
        let sender: Mailbox = self.from.parse().ok()?;
        let ascii = super::mailable(sender.email.as_ref()).and_then(|address| address.parse().ok());
        Some(Mailbox { email: ascii.unwrap_or(sender.email), name: sender.name })
    }

    /// The colour of words on the accent colour: white or black, whichever reads better.
    #[must_use]
    pub fn ink(&self) -> &'static str {
        // WCAG 2 contrast is (a + 0.05) / (b + 0.05); white wins up to the luminance where both are equal.
        match luminance(&self.color) {
            Some(light) if (light + 0.05).powi(2) > 1.05 * 0.05 => "#000000",
            _ => "#ffffff",
        }
    }
}

/// Relative luminance of `#rrggbb`, 0 to 1 (WCAG 2).
fn luminance(color: &str) -> Option<f64> {
    let digits = color.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii())?;
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&digits[at..at + 2], 16).ok()?) / 255.0;
        Some(if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) })
    };
    Some(0.2126 * channel(0)? + 0.7152 * channel(2)? + 0.0722 * channel(4)?)
}

#[cfg(test)]
mod tests {
    use super::{super::fixture, *};

    #[test]
    fn a_good_brand_has_no_findings_and_each_mistake_has_its_own() {
        let good = fixture::brand();
        assert_eq!(good.findings(), []);
        let bad = Brand {
            url: "fernwood.example".into(),
            domain: "fernwood".into(),
            from: "nobody".into(),
            postal_address: vec![" ".into()],
            locale: "xx-XX".into(),
            timezone: "Berlin".into(),
            currency: "euro".into(),
            color: "green".into(),
            ..good
        };
        let named: Vec<String> = bad.findings().into_iter().map(|found| found.message).collect();
        for key in ["from", "url", "domain", "postal_address", "timezone", "locale", "currency", "color"] {
            assert!(named.iter().any(|message| message.contains(&format!("`{key}`"))), "{key}: {named:?}");
        }
    }

    #[test]
    fn a_sender_s_domain_is_written_as_servers_know_it() {
        let brand = Brand { from: "Fernwood <hello@bücher.example>".into(), ..fixture::brand() };
        let sender = brand.sender().unwrap();
        assert_eq!((sender.name.as_deref(), sender.email.to_string().as_str()), (Some("Fernwood"), "hello@xn--bcher-kva.example"));
    }

    #[test]
    fn words_on_the_accent_colour_can_be_read() {
        for color in ["#2f5d50", "#ffcc00", "#777777", "#000000", "#ffffff", "#1e90ff"] {
            let brand = Brand { color: color.into(), ..fixture::brand() };
            let (a, b) = (luminance(color).unwrap() + 0.05, luminance(brand.ink()).unwrap() + 0.05);
            assert!(a.max(b) / a.min(b) >= 4.5, "{color} {}", brand.ink());
        }
    }
}
