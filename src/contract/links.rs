//! The answer of `GetLinks`. Each link is encoded when it is read: ten thousand of them
//! in the contract's types take several times the memory, and time to make and to free.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rmp_serde::encode::{Error, write_named};
use serde::Serialize;

/// What a `LinkDefinition` has, in its order.
#[derive(Serialize)]
#[allow(missing_docs, reason = "the contract documents them")]
pub struct LinkFields<'a> {
    pub actor_id: &'a str,
    pub provider_id: &'a str,
    pub link_name: &'a str,
    pub contract_id: &'a str,
    pub values: &'a BTreeMap<String, Cow<'a, str>>,
}

/// A link in MessagePack.
pub struct EncodedLink(Box<[u8]>);

/// Encodes links, one after the other.
#[derive(Default)]
pub struct LinkEncoder {
    /// The link that is being encoded: its length is not known before.
    buffer: Vec<u8>,
}

impl LinkEncoder {
    /// Encodes a link.
    ///
    /// # Errors
    /// Why it cannot be encoded.
    pub fn encode(&mut self, link: &LinkFields<'_>) -> Result<EncodedLink, Error> {
        self.buffer.clear();
        write_named(&mut self.buffer, link)?;
        Ok(EncodedLink(self.buffer.as_slice().into()))
    }
}

/// Encodes a `LinkDefinitionList`, which is a map with the list as its only member.
pub fn encode_list(links: &[EncodedLink]) -> Vec<u8> {
    let bytes: usize = links.iter().map(|link| link.0.len()).sum();
    let mut list = Vec::with_capacity(bytes + 16);
    list.extend_from_slice(b"\x81\xa5links");
    match links.len() {
        few @ ..=0xf => list.push(0x90 | few as u8),
        some @ ..=0xffff => {
            list.push(0xdc);
            list.extend_from_slice(&(some as u16).to_be_bytes());
        }
        many => {
            list.push(0xdd);
            list.extend_from_slice(&(many as u32).to_be_bytes());
        }
    }
    for link in links {
        list.extend_from_slice(&link.0);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{LinkDefinition, LinkDefinitionList};

    #[test]
    fn a_list_of_encoded_links_is_what_the_contracts_type_encodes_to() {
        for count in [0, 1, 15, 16, 300, 0xffff, 0x1_0000] {
            let link = |number: usize| {
                let mut link = LinkDefinition::default();
                link.actor_id = "M".repeat(number % 40);
                link.provider_id = "V1".to_owned();
                link.contract_id = "wasmcloud:keyvalue".to_owned();
                link.link_name = format!("\u{e4}{number}");
                // Not more: maps of the contract's type have no order.
                let values = 0..number % 2;
                link.values = values
                    .map(|n| (n.to_string(), "v".repeat(n * 300)))
                    .collect();
                link
            };
            let links: Vec<_> = (0..count).map(link).collect();
            let mut encoder = LinkEncoder::default();
            let encoded = links.iter().map(|link| {
                let values = link.values.iter();
                let values = values.map(|(name, value)| (name.clone(), value.as_str().into()));
                let fields = LinkFields {
                    actor_id: &link.actor_id,
                    provider_id: &link.provider_id,
                    link_name: &link.link_name,
                    contract_id: &link.contract_id,
                    values: &values.collect(),
                };
                encoder.encode(&fields).unwrap()
            });
            let encoded = encode_list(&encoded.collect::<Vec<_>>());
            let whole = wasmbus_rpc::common::serialize(&LinkDefinitionList { links }).unwrap();
            assert!(encoded == whole, "{count} links");
        }
    }
}
