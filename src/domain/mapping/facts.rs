//! What rules may ask of agreements and additions.

use crate::domain::records::{Addition, Agreement};
use crate::domain::rules::{Attribute, Facts};

impl Agreement {
    /// What a rule may ask of it; absent where ConnectWise left it out.
    pub fn attribute(&self, attribute: Attribute) -> Option<&str> {
        match attribute {
            Attribute::Name => Some(&self.name),
            Attribute::TypeName => self.type_name.as_deref(),
            Attribute::ProductIdentifier | Attribute::Description => None,
        }
    }
}

impl Addition {
    /// What a rule may ask of it; absent where ConnectWise left it out.
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
