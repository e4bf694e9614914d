//! The schema knows the reader's keys, all of them and no others; so does the documentation.

use std::collections::BTreeSet;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::Value;

use super::super::raw::{RawAgent, RawConfig, RawLimits, RawListener, RawPeer, RawProxyProtocol, RawTls};
use super::*;

/// Gives no value, but tells which fields a type asks for.
struct Asking;

#[derive(Debug)]
struct Fields(BTreeSet<String>);

impl std::fmt::Display for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Fields {}

impl serde::de::Error for Fields {
    fn custom<T: std::fmt::Display>(_: T) -> Fields {
        Fields(BTreeSet::new())
    }
}

impl<'de> Deserializer<'de> for Asking {
    type Error = Fields;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fields> {
        Err(Fields(BTreeSet::new()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Fields> {
        Err(Fields(fields.iter().map(|&field| field.to_owned()).collect()))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn of_reader<T: for<'de> Deserialize<'de>>() -> BTreeSet<String> {
    T::deserialize(Asking).err().map(|fields| fields.0).unwrap_or_default()
}

fn sections() -> Vec<(&'static str, BTreeSet<String>)> {
    vec![
        ("", of_reader::<RawConfig>()),
        ("agent", of_reader::<RawAgent>()),
        ("tls", of_reader::<RawTls>()),
        ("listener", of_reader::<RawListener>()),
        ("proxy_protocol", of_reader::<RawProxyProtocol>()),
        ("limits", of_reader::<RawLimits>()),
        ("peer", of_reader::<RawPeer>()),
    ]
}

#[test]
fn the_schema_has_the_readers_keys() {
    let schema = super::super::schema();
    for (section, keys) in sections() {
        let at = if section.is_empty() { &schema } else { &schema["$defs"][section] };
        let known: BTreeSet<String> = at["properties"].as_object().unwrap().keys().cloned().collect();
        assert!(!keys.is_empty());
        assert_eq!(known, keys, "{section}");
        assert_eq!(at["additionalProperties"], false, "{section}");
    }
}

#[test]
fn references_lead_somewhere() {
    fn walk(value: &Value, schema: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(to)) = map.get("$ref") {
                    let name = to.strip_prefix("#/$defs/").unwrap();
                    assert!(schema["$defs"].get(name).is_some(), "{to}");
                }
                map.values().for_each(|value| walk(value, schema));
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, schema)),
            _ => {}
        }
    }
    let schema = super::super::schema();
    walk(&schema, &schema);
}

#[test]
fn the_documentation_has_every_key() {
    let text = include_str!("../../../../../docs/configuration.md");
    for (section, keys) in sections() {
        for key in keys {
            assert!(text.contains(&format!("`{key}`")), "{section}: `{key}` is not in docs/configuration.md");
        }
    }
}

/// The examples of the documentation are read as they stand.
#[test]
fn the_documentations_examples_are_right() {
    let pki = Pki::new();
    let lookup = |name: &str| match name {
        "TLS_CA" => Some(pki.ca.clone()),
        "TLS_CERT" => Some(pki.cert.clone()),
        "TLS_KEY" => Some(pki.key.clone()),
        _ => None,
    };
    let text = include_str!("../../../../../docs/configuration.md");
    let mut read = 0;
    for example in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        // Kubernetes' documents are not ours.
        if example.contains("apiVersion") {
            continue;
        }
        let config = Config::parse(example, Path::new("docs"), &lookup, Told::default());
        assert!(config.is_ok(), "{example}\n{}", config.err().unwrap());
        read += 1;
    }
    assert!(read > 5, "{read}");
}
