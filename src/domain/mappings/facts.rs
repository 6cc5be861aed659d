//! The attributes of agreements and additions that rules can compare.

use crate::domain::records::{Addition, Agreement};
use crate::domain::rules::{Attribute, Facts};

impl Agreement {
    /// Returns an attribute, or `None` if ConnectWise did not return it or it belongs to the other target.
    pub fn attribute(&self, attribute: Attribute) -> Option<&str> {
        match attribute {
            Attribute::Name => Some(&self.name),
            Attribute::TypeName => self.type_name.as_deref(),
            Attribute::ProductIdentifier | Attribute::Description => None,
        }
    }
}

impl Addition {
    /// Returns an attribute, or `None` if ConnectWise did not return it or it belongs to the other target.
    pub fn attribute(&self, attribute: Attribute) -> Option<&str> {
        match attribute {
            Attribute::ProductIdentifier => self.product_identifier.as_deref(),
            Attribute::Description => self.description.as_deref(),
            Attribute::Name | Attribute::TypeName => None,
        }
    }
}

impl From<&Agreement> for Facts {
    fn from(agreement: &Agreement) -> Self {
        Self::new(|attribute| agreement.attribute(attribute))
    }
}

impl From<&Addition> for Facts {
    fn from(addition: &Addition) -> Self {
        Self::new(|attribute| addition.attribute(attribute))
    }
}
