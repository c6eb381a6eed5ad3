//! A relay whose certificate is not what it should be gets nothing: no letter, no address, and nobody's outcome becomes unknown.

use crate::support::{
    approved::Approved,
    authority::{self, Authority},
    postfix::{self, Setup, WRAPPED},
    skip,
};

/// A relay behind TLS, and why nothing may be sent to it.
struct Relay {
    what: &'static str,
    port: u16,
    tls: &'static str,
    /// Whether the project knows the authority.
    known: bool,
    /// Words of the reason; none where there is nothing wrong.
    reason: Option<&'static str>,
}

#[test]
fn a_relay_that_cannot_prove_who_it_is_gets_nothing() {
    let Some(authority) = Authority::found() else { return skip(authority::NEEDS) };
    let Some(mut setup) = Setup::new() else { return skip(postfix::NEEDS) };
    let mut relays = Vec::new();
    let certificates = [
        ("sound", authority.signs("sound", "IP:127.0.0.1", 2049), None),
        ("expired", authority.signs("expired", "IP:127.0.0.1", 2021), Some("expired")),
        ("somebody else's", authority.signs("elsewhere", "DNS:elsewhere.example", 2049), Some("elsewhere.example")),
        ("its own", authority.unsigned("own"), Some("certificate")),
    ];
    for (what, chain, reason) in &certificates {
        for (tls, wrapped) in [("tls", WRAPPED), ("starttls", "smtpd_tls_wrappermode=no")] {
            let chain = format!("smtpd_tls_chain_files={}", chain.display());
            let port = setup.server(&["smtpd_tls_security_level=may", &chain, wrapped]);
            relays.push(Relay { what, port, tls, known: true, reason: *reason });
            if reason.is_none() {
                relays.push(Relay { what: "from an unknown authority", port, tls, known: false, reason: Some("certificate") });
            }
        }
    }
    let plain = setup.server(&[]);
    relays.push(Relay { what: "not shown, STARTTLS not offered", port: plain, tls: "starttls", known: true, reason: Some("STARTTLS") });
    relays.push(Relay { what: "not shown, no TLS at all", port: plain, tls: "tls", known: true, reason: Some("127.0.0.1") });
    let postfix = setup.start();
    let shop = Approved::practice();
    std::thread::scope(|scope| {
        for relay in &relays {
            let (shop, authority) = (&shop, &authority);
            scope.spawn(move || tried(relay, shop, authority));
        }
    });
    // The sound one, by both ways.
    let letters = postfix.take("everyone");
    assert_eq!(letters.len(), 2 * shop.letters.len(), "nobody else got any");
    assert!(letters.iter().all(|letter| letter.text.contains("with ESMTPS")), "and none crossed in the open");
}

fn tried(relay: &Relay, shop: &Approved, authority: &Authority) {
    let mut folder = shop.copy();
    folder.send_to_port(relay.port);
    folder.set("PERENNIAL__DELIVERY__SMTP__TLS", relay.tls);
    if relay.known {
        folder.set("PERENNIAL__DELIVERY__SMTP__CA", authority.certificate().to_str().unwrap());
    }
    let delivered = shop.deliver(&folder, &[]);
    let told = delivered.said["error"]["message"].as_str().unwrap_or_default();
    eprintln!("a certificate that is {}, {}: {told}", relay.what, relay.tls);
    match relay.reason {
        None => assert_eq!((delivered.answer.code, delivered.count("accepted")), (0, shop.letters.len()), "{delivered:#?}"),
        Some(reason) => {
            assert_eq!((delivered.answer.code, delivered.count("waiting")), (1, shop.letters.len()), "{}: {delivered:#?}", relay.what);
            assert!(told.contains(reason), "{}: {told}", relay.what);
        }
    }
}
