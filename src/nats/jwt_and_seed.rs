//! Reads user JWTs and seeds as people paste them: with the armour of a credentials
//! file around them, in quotation marks, with a byte order mark or line breaks.
//!
//! A text that can never work is refused, and the message says which part belongs
//! where. Copies are made only in types that are wiped when they are dropped.

use data_encoding::BASE64URL_NOPAD;
use secrecy::SecretString;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::json;

/// The names of the two members that hold a login, for messages.
#[derive(Clone, Copy, Debug)]
pub struct LoginMembers {
    /// The member with the JWT.
    pub jwt: &'static str,
    /// The member with the seed.
    pub seed: &'static str,
}

/// Why a text cannot be the JWT or the seed of a login. Quotes nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum LoginTextError {
    /// It has armour, and not that of a JWT or a seed.
    #[error("{0} is armoured, and neither \"{JWT_LABEL}\" nor \"{SEED_LABEL}\"")]
    OtherArmour(&'static str),
    /// It is both in one.
    #[error(
        "{member} is a whole credentials file: what is between BEGIN and END {JWT_LABEL} \
         belongs in {}, what is between BEGIN and END {SEED_LABEL} in {}",
        members.jwt, members.seed
    )]
    WholeFile {
        /// The member that has it.
        member: &'static str,
        /// Where the parts belong.
        members: LoginMembers,
    },
    /// It is a seed in the place of a JWT, or the other way round.
    #[error("{member} holds what belongs in {other}")]
    Misplaced {
        /// The member that has it.
        member: &'static str,
        /// The member in which it belongs.
        other: &'static str,
    },
    /// It does not begin as JWTs of NATS do.
    #[error(
        "{0} is not a NATS user JWT: it must begin with the header of a JWT whose algorithm is \
         ed25519-nkey"
    )]
    OtherHeader(&'static str),
    /// Parts of the JWT, or the end of its signature, are missing.
    #[error(
        "{0} is not a NATS user JWT: it is cut short; it must have three parts with a dot \
         between them, the last one a signature of 64 bytes"
    )]
    CutShort(&'static str),
}

/// A part of a login.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Jwt,
    Seed,
}

/// The labels of the parts of a credentials file.
const JWT_LABEL: &str = "NATS USER JWT";
const SEED_LABEL: &str = "USER NKEY SEED";

/// Bytes of an ed25519 signature.
const SIGNATURE: usize = 64;

impl LoginMembers {
    /// Reads a JWT; a blank text gives `None`.
    ///
    /// # Errors
    /// The text is no JWT of NATS, or a piece of one.
    pub fn jwt(&self, text: &str) -> Result<Option<SecretString>, LoginTextError> {
        let Some(jwt) = self.part(text, Part::Jwt)? else {
            return Ok(None);
        };
        check(&jwt, self.jwt)?;
        Ok(Some(SecretString::from(jwt.as_str())))
    }

    /// Reads a seed; a blank text gives `None`. Whether it is a valid seed is checked
    /// where it is used.
    ///
    /// # Errors
    /// The text is a JWT, or a whole credentials file.
    pub fn seed(&self, text: &str) -> Result<Option<SecretString>, LoginTextError> {
        let seed = self.part(text, Part::Seed)?;
        Ok(seed.map(|seed| SecretString::from(seed.as_str())))
    }

    fn part(&self, text: &str, wanted: Part) -> Result<Option<Zeroizing<String>>, LoginTextError> {
        let (member, other) = match wanted {
            Part::Jwt => (self.jwt, self.seed),
            Part::Seed => (self.seed, self.jwt),
        };
        let of = |part| armoured(text, part);
        let found = match (of(Part::Jwt), of(Part::Seed)) {
            (None, None) if is_armoured(text) => {
                return Err(LoginTextError::OtherArmour(member));
            }
            (None, None) => text,
            (Some(_), Some(_)) => {
                let members = *self;
                return Err(LoginTextError::WholeFile { member, members });
            }
            (Some(jwt), None) if wanted == Part::Jwt => jwt,
            (None, Some(seed)) if wanted == Part::Seed => seed,
            _ => return Err(LoginTextError::Misplaced { member, other }),
        };
        let bare = in_one_line(found.trim_matches(is_around));
        Ok(Some(bare).filter(|bare| !bare.is_empty()))
    }
}

/// Returns whether there is armour in a text.
pub fn is_armoured(text: &str) -> bool {
    text.contains("--BEGIN ")
}

/// Returns what stands between the BEGIN and the END of a part; without an END, the
/// rest.
fn armoured(text: &str, part: Part) -> Option<&str> {
    let label = match part {
        Part::Jwt => JWT_LABEL,
        Part::Seed => SEED_LABEL,
    };
    let dashes = |c| c == '-';
    let begin = text.find(&format!("--BEGIN {label}--"))?;
    let rest = text[begin..].trim_start_matches(dashes);
    let rest = rest["BEGIN ".len() + label.len()..].trim_start_matches(dashes);
    let end = rest.find(&format!("--END {label}--")).unwrap_or(rest.len());
    Some(rest[..end].trim_end_matches(dashes))
}

/// Returns whether people and programs leave this character around a copied text.
fn is_around(c: char) -> bool {
    const MARKS: [char; 15] = [
        '"', '\'', '`', '\u{b4}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{201c}', '\u{201d}',
        '\u{201e}', '\u{ab}', '\u{bb}', '\u{feff}', '\u{200b}', '\u{2060}',
    ];
    c.is_whitespace() || MARKS.contains(&c)
}

/// Removes the whitespace that breaks a text into lines.
fn in_one_line(text: &str) -> Zeroizing<String> {
    // Large enough from the start: growing would leave a copy behind.
    let mut line = Zeroizing::new(String::with_capacity(text.len()));
    text.split_whitespace().for_each(|part| line.push_str(part));
    line
}

#[derive(Deserialize)]
struct Header {
    typ: String,
    alg: String,
}

/// Checks the form of the JWT of a member; its claims are read elsewhere.
fn check(jwt: &str, member: &'static str) -> Result<(), LoginTextError> {
    let mut parts = jwt.split('.');
    let header = parts.next().unwrap_or_default();
    let header = BASE64URL_NOPAD.decode(header.as_bytes()).ok();
    let header = header.and_then(|text| json::from_slice::<Header>(&text).ok());
    // As servers read it: the first version of NATS JWTs had the second algorithm.
    let is_of_nats = |header: &Header| {
        let algorithm = header.alg.to_ascii_lowercase();
        header.typ.eq_ignore_ascii_case("jwt")
            && matches!(algorithm.as_str(), "ed25519-nkey" | "ed25519")
    };
    if !header.is_some_and(|header| is_of_nats(&header)) {
        return Err(LoginTextError::OtherHeader(member));
    }
    let (Some(_), Some(signature), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(LoginTextError::CutShort(member));
    };
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok();
    match signature.is_some_and(|bytes| bytes.len() == SIGNATURE) {
        true => Ok(()),
        false => Err(LoginTextError::CutShort(member)),
    }
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    const USER: LoginMembers = LoginMembers {
        jwt: "userJwt",
        seed: "userSeed",
    };

    fn with_header(header: &str) -> String {
        let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let claims = part(br#"{"sub":"U"}"#);
        format!("{}.{claims}.{}", part(header.as_bytes()), part(&[0xfb; 64]))
    }

    fn jwt() -> String {
        with_header(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#)
    }

    fn seed() -> String {
        KeyPair::new_user().seed().unwrap()
    }

    fn armoured_jwt(jwt: &str) -> String {
        format!("-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n")
    }

    fn armoured_seed(seed: &str) -> String {
        format!("-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n")
    }

    /// The ways in which people paste a text.
    fn ways(bare: &str, armoured: &str) -> Vec<String> {
        let mut ways = vec![
            bare.to_owned(),
            format!("\u{feff}{bare}"),
            format!("\u{feff}\r\n \"{bare}\"\r\n\t"),
            format!("'{bare}'"),
            format!("\u{201c}{bare}\u{201d}\n"),
            format!("{}\r\n{}", &bare[..30], &bare[30..]),
        ];
        let more = [
            armoured.to_owned(),
            armoured.replace('\n', "\r\n"),
            armoured.replace('\n', ""),
            armoured.replace("------END", "-----END"),
            format!("\u{feff}\"{armoured}\""),
            format!("# mine\n{armoured}\n*** IMPORTANT ***\n"),
        ];
        ways.extend(more);
        ways
    }

    #[test]
    fn pasted_texts_are_read_as_they_are_meant() {
        let (jwt, seed) = (jwt(), seed());
        for text in ways(&jwt, &armoured_jwt(&jwt)) {
            let taken = USER.jwt(&text).unwrap().unwrap();
            assert_eq!(taken.expose_secret(), jwt, "{text:?}");
        }
        for text in ways(&seed, &armoured_seed(&seed)) {
            let taken = USER.seed(&text).unwrap().unwrap();
            assert_eq!(taken.expose_secret(), seed, "{text:?}");
        }
        for blank in ["", " \r\n", "\u{feff}", "\"\"", "' '"] {
            assert!(USER.jwt(blank).unwrap().is_none());
            assert!(USER.seed(blank).unwrap().is_none());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused_without_quoting_it(
            parts in proptest::collection::vec(
                proptest::sample::select(vec![
                    "-----BEGIN ", "------END ", "-----", "-", "NATS USER JWT", "USER NKEY SEED",
                    "\n", "\"", "\u{feff}", ".", "eyJ", "s3kret", "é",
                ]),
                0..20,
            )
        ) {
            for taken in [USER.jwt(&parts.concat()), USER.seed(&parts.concat())] {
                if let Err(problem) = taken {
                    prop_assert!(!problem.to_string().contains("s3kret"), "{}", problem);
                }
            }
        }
    }

    #[test]
    fn what_can_never_work_is_refused_with_where_it_belongs() {
        let (jwt, seed) = (jwt(), seed());
        let file = armoured_jwt(&jwt) + &armoured_seed(&seed);
        let of_account = armoured_jwt(&jwt).replace("USER", "ACCOUNT");
        let (of_jwt, of_seed) = (
            |text: &str| USER.jwt(text).unwrap_err().to_string(),
            |text: &str| USER.seed(text).unwrap_err().to_string(),
        );
        for (problem, expected) in [
            (of_jwt(&file), "userJwt is a whole credentials file: "),
            (of_seed(&file), "userSeed is a whole credentials file: "),
            (of_seed(&file), "NATS USER JWT belongs in userJwt"),
            (of_jwt(&file), "USER NKEY SEED in userSeed"),
            (
                of_jwt(&armoured_seed(&seed)),
                "holds what belongs in userSeed",
            ),
            (
                of_seed(&armoured_jwt(&jwt)),
                "holds what belongs in userJwt",
            ),
            (of_jwt(&of_account), "is armoured, and neither"),
            (of_jwt(&jwt[..jwt.len() - 1]), "cut short"),
            (of_jwt(&jwt[..jwt.len() - 2]), "cut short"),
            (of_jwt(&jwt[..jwt.len() - 86]), "cut short"),
            (of_jwt(&jwt[..jwt.len() - 88]), "cut short"),
            (of_jwt(&jwt[..20]), "must begin with the header"),
            (of_jwt(&jwt[1..]), "must begin with the header"),
            (of_jwt(&format!("{jwt}.x")), "cut short"),
            (of_jwt(&seed), "must begin with the header"),
            (of_jwt(&with_header("{}")), "must begin with the header"),
            (
                of_jwt(&with_header(r#"{"typ":"JWT","alg":"HS256"}"#)),
                "must begin with the header",
            ),
        ] {
            assert!(problem.contains(expected), "{expected}: {problem}");
            assert!(
                !problem.contains(&seed) && !problem.contains("eyJ"),
                "{problem}"
            );
        }
        // Servers accept tokens of the first version, too.
        assert!(
            USER.jwt(&with_header(r#"{"typ":"jwt","alg":"ed25519"}"#))
                .is_ok()
        );
    }
}
