//! Reads JSON from outside, where a struct must be an object.
//!
//! The code that serde derives for a struct accepts a list as well, by position:
//! `[true,""]` would be an acknowledgement, and `["M…"]` a link. Each body of a host, a
//! bucket or an event is read through this file, which refuses such lists at every
//! depth. MessagePack is not read through it: there, hosts may send a struct as a list.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess,
    Visitor,
};
use serde_json::{Error, Value};

/// Reads a value that is the whole text.
///
/// # Errors
/// As [`serde_json::from_slice`], and where a list stands for a struct.
pub fn from_slice<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let read = T::deserialize(Objects(&mut input))?;
    input.end()?;
    Ok(read)
}

/// Turns a JSON value into a type.
///
/// # Errors
/// As [`serde_json::from_value`], and where a list stands for a struct.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Objects(value))
}

/// Behaves as what it wraps, except that it asks for an object where a struct is to be
/// read. It wraps each deserializer, visitor and seed that takes part in reading a
/// value, so that this holds for the values inside as well.
struct Objects<T>(T);

/// Implements methods of a deserializer that pass their visitor on.
macro_rules! ask {
    ($($name:ident($($argument:ident: $type:ty),*))*) => {$(
        #[inline]
        fn $name<V: Visitor<'de>>(
            self,
            $($argument: $type,)*
            visitor: V,
        ) -> Result<V::Value, D::Error> {
            self.0.$name($($argument,)* Objects(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Objects(visitor))
    }

    /// No body has an enum. To support one, wrap what is inside its variants, too.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _variants: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, D::Error> {
        Err(D::Error::custom(format!("{name} is not read from JSON")))
    }

    ask! {
        deserialize_any()
        deserialize_bool()
        deserialize_i8()
        deserialize_i16()
        deserialize_i32()
        deserialize_i64()
        deserialize_i128()
        deserialize_u8()
        deserialize_u16()
        deserialize_u32()
        deserialize_u64()
        deserialize_u128()
        deserialize_f32()
        deserialize_f64()
        deserialize_char()
        deserialize_str()
        deserialize_string()
        deserialize_bytes()
        deserialize_byte_buf()
        deserialize_option()
        deserialize_unit()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_seq()
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map()
        deserialize_identifier()
        deserialize_ignored_any()
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// Implements methods of a visitor that get a plain value.
macro_rules! give {
    ($($name:ident($type:ty))*) => {$(
        #[inline]
        fn $name<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$name(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Objects<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    give! {
        visit_bool(bool)
        visit_i64(i64)
        visit_i128(i128)
        visit_u64(u64)
        visit_u128(u128)
        visit_f64(f64)
        visit_str(&str)
        visit_borrowed_str(&'de str)
        visit_string(String)
        visit_bytes(&[u8])
        visit_borrowed_bytes(&'de [u8])
        visit_byte_buf(Vec<u8>)
    }

    #[inline]
    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    #[inline]
    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, input: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(input))
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, input: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Objects(input))
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Objects(members))
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(members))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(input))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Objects<A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Objects<A> {
    type Error = A::Error;

    /// Names of members are text and need no wrapper.
    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Inner {
        number: i32,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Outer {
        inner: Inner,
        maybe: Option<Inner>,
        list: Vec<Inner>,
        map: BTreeMap<String, Inner>,
        pair: (Inner, bool),
        any: Value,
    }

    #[test]
    fn a_list_is_no_struct_at_any_depth() {
        let object = br#"{"inner":{"number":1},"maybe":{"number":2},"list":[{"number":3}],
            "map":{"a":{"number":4}},"pair":[{"number":5},true],"any":[[1],{"b":[2]}]}"#;
        let read: Outer = from_slice(object).unwrap();
        assert_eq!(read, serde_json::from_slice(object).unwrap());
        assert_eq!(read.map["a"].number, 4);
        for list in [
            "[]",
            "[[1]]",
            r#"{"inner":[1]}"#,
            r#"{"inner":[]}"#,
            r#"{"maybe":[2]}"#,
            r#"{"list":[[3]]}"#,
            r#"{"map":{"a":[4]}}"#,
            r#"{"pair":[[5],true]}"#,
        ] {
            assert!(serde_json::from_str::<Outer>(list).is_ok(), "{list}");
            let problem = from_slice::<Outer>(list.as_bytes())
                .unwrap_err()
                .to_string();
            assert!(
                problem.contains("invalid type: sequence"),
                "{list}: {problem}"
            );
            let value: Value = serde_json::from_str(list).unwrap();
            assert!(from_value::<Outer>(value).is_err(), "{list}");
        }
    }

    #[test]
    fn what_follows_a_value_is_an_error() {
        assert!(from_slice::<Inner>(br#" {"number":1} "#).is_ok());
        assert!(from_slice::<Inner>(br#"{"number":1}]"#).is_err());
        assert!(from_slice::<Inner>(b"").is_err());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map("[a-z]{0,3}", inner, 0..5)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn everything_but_lists_for_structs_is_read_as_serde_json_does(value in json()) {
            let text = serde_json::to_vec(&value).unwrap();
            let same: Value = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!(&from_slice::<Value>(&text).unwrap(), &same);
            prop_assert_eq!(&from_value::<Value>(same.clone()).unwrap(), &same);
        }
    }
}
