//! Certificates of a day.

use std::net::IpAddr;

use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{
        X509, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};

/// A certificate authority.
pub struct Authority {
    pub certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    pub fn new() -> Self {
        let key = elliptic_key();
        let certificate = certificate("authority", &key, None);
        Authority { certificate, key }
    }

    /// Its own certificate.
    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    /// A certificate that it has signed for this name or IP address, and its key, both in PEM.
    pub fn issue(&self, name: &str) -> (String, String) {
        let key = elliptic_key();
        let pem = certificate(name, &key, Some(self)).to_pem().unwrap();
        let key = key.private_key_to_pem_pkcs8().unwrap();
        (String::from_utf8(pem).unwrap(), String::from_utf8(key).unwrap())
    }
}

pub fn elliptic_key() -> PKey<Private> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&curve).unwrap()).unwrap()
}

/// A certificate of this name, for this name or IP address; an authority's own if none signs it.
pub fn certificate(name: &str, key: &PKey<Private>, by: Option<&Authority>) -> X509 {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, MsbOption::MAYBE_ZERO, false).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    match by {
        None => {
            builder.set_issuer_name(&subject).unwrap();
            let is_authority = BasicConstraints::new().critical().ca().build().unwrap();
            builder.append_extension(is_authority).unwrap();
            builder.sign(key, MessageDigest::sha256()).unwrap();
        }
        Some(authority) => {
            builder.set_issuer_name(authority.certificate.subject_name()).unwrap();
            let mut names = SubjectAlternativeName::new();
            if name.parse::<IpAddr>().is_ok() {
                names.ip(name)
            } else {
                names.dns(name)
            };
            let names = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(names).unwrap();
            builder.sign(&authority.key, MessageDigest::sha256()).unwrap();
        }
    }
    builder.build()
}
