//! Enumerations whose values have one text each, used in JSON, in the database and in logs.

/// The error for a text that is not a value of the enumeration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{given}\" is not one of: {expected}")]
pub struct ParseEnumError {
    /// The given text, cut to 40 characters.
    pub given: String,
    /// The valid values, separated by commas.
    pub expected: String,
}

/// An enumeration defined by `string_enum!`.
pub trait StringEnum: Copy + std::fmt::Display + std::str::FromStr<Err = ParseEnumError> + 'static {
    /// All values, in order of definition.
    const VALUES: &'static [Self];

    /// The value's doc comment, which explains it in the OpenAPI document.
    fn meaning(self) -> &'static str;
}

/// Defines an enumeration with one text per value: `as_str`, `ALL`, `Display`, `FromStr`, serde.
macro_rules! string_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[doc = $doc])+ #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// All values, in order of definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value's text, as in JSON, in the database and in logs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl $crate::domain::string_enum::StringEnum for $name {
            const VALUES: &'static [Self] = Self::ALL;

            fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+)),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::string_enum::ParseEnumError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    $crate::domain::string_enum::ParseEnumError {
                        given: text.chars().take(40).collect(),
                        expected: Self::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>().join(", "),
                    }
                })
            }
        }
    };
}
pub(crate) use string_enum;

#[cfg(test)]
mod tests {
    use super::StringEnum;

    string_enum! {
        /// Two values.
        Side {
            /// One.
            Left = "left",
            /// The other.
            Right = "right",
        }
    }

    #[test]
    fn every_value_is_read_back() {
        for side in Side::ALL {
            assert_eq!(side.as_str().parse::<Side>().as_ref(), Ok(side));
        }
        assert_eq!(Side::Left.meaning().trim(), "One.");
        let error = "LEFT".parse::<Side>().unwrap_err();
        assert_eq!(error.to_string(), "\"LEFT\" is not one of: left, right");
    }
}
