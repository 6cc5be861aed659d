//! Auto-match: proposes ConnectWise companies for the vendor's companies.

use std::collections::{HashMap, HashSet};

use super::ids::{CompanyId, CwCompanyId};
use super::records::CwCompany;
use super::string_enum::string_enum;
use super::text::{fold, fold_name};

string_enum! {
    /// How a company was matched to its ConnectWise company.
    MatchSource {
        /// A person chose it.
        Manual = "manual",
        /// Auto-match applied it.
        Auto = "auto",
    }
}

string_enum! {
    /// The attribute by which a proposal matches.
    MatchCriterion {
        /// The vendor's external id equals the ConnectWise identifier, ignoring case.
        Identifier = "identifier",
        /// The names are equal, ignoring case, accents and spacing.
        Name = "name",
    }
}

string_enum! {
    /// The result of auto-match for one company.
    MatchOutcome {
        /// Exactly one ConnectWise company fits, and no other company is or could be matched to it.
        Proposed = "proposed",
        /// Several ConnectWise companies fit.
        Ambiguous = "ambiguous",
        /// Another company is matched to the ConnectWise company that fits, or fits it as well.
        NotUnique = "not_unique",
        /// No ConnectWise company fits.
        None = "none",
    }
}

/// A company to be matched.
#[derive(Debug, Clone)]
pub struct UnmatchedCompany {
    /// This service's id of the company.
    pub id: CompanyId,
    /// The vendor's id of the company.
    pub external_id: String,
    /// The vendor's name of the company.
    pub name: String,
}

/// The result of auto-match for one company, with the candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The company.
    pub company_id: CompanyId,
    /// Whether a match was found, and if not, why.
    pub outcome: MatchOutcome,
    /// The attribute that was equal; `None` if none was.
    pub by: Option<MatchCriterion>,
    /// The ConnectWise companies that fit: one if proposed or not unique, several if ambiguous.
    pub candidates: Vec<CwCompanyId>,
}

/// Proposes a ConnectWise company for each unmatched company, by equal identifier, then by equal name. A match must be
/// unique on both sides and not already matched. `offered` must not contain deleted ConnectWise companies.
pub fn propose(
    unmatched: &[UnmatchedCompany],
    offered: &[CwCompany],
    already_matched: &HashSet<CwCompanyId>,
) -> Vec<Proposal> {
    let mut by_identifier: HashMap<String, Vec<CwCompanyId>> = HashMap::new();
    let mut by_name: HashMap<String, Vec<CwCompanyId>> = HashMap::new();
    for company in offered {
        by_identifier.entry(fold(company.identifier.trim())).or_default().push(company.id);
        by_name.entry(fold_name(&company.name)).or_default().push(company.id);
    }
    let found: Vec<Proposal> =
        unmatched.iter().map(|company| find(company, &by_identifier, &by_name, already_matched)).collect();
    let mut wanted: HashMap<CwCompanyId, usize> = HashMap::new();
    for proposal in found.iter().filter(|proposal| proposal.outcome == MatchOutcome::Proposed) {
        proposal.candidates.iter().for_each(|id| *wanted.entry(*id).or_default() += 1);
    }
    let contested = |proposal: &Proposal| proposal.candidates.iter().any(|id| wanted.get(id).is_some_and(|n| *n > 1));
    found
        .into_iter()
        .map(|proposal| match proposal.outcome {
            MatchOutcome::Proposed if contested(&proposal) => Proposal { outcome: MatchOutcome::NotUnique, ..proposal },
            _ => proposal,
        })
        .collect()
}

fn find(
    company: &UnmatchedCompany,
    by_identifier: &HashMap<String, Vec<CwCompanyId>>,
    by_name: &HashMap<String, Vec<CwCompanyId>>,
    already_matched: &HashSet<CwCompanyId>,
) -> Proposal {
    let tries = [
        (MatchCriterion::Identifier, by_identifier.get(&fold(company.external_id.trim()))),
        (MatchCriterion::Name, by_name.get(&fold_name(&company.name))),
    ];
    let hit = tries.into_iter().find_map(|(by, ids)| ids.map(|ids| (by, ids.clone())));
    let (outcome, by, candidates) = match hit {
        None => (MatchOutcome::None, None, Vec::new()),
        Some((by, ids)) => {
            let outcome = match ids.as_slice() {
                [one] if already_matched.contains(one) => MatchOutcome::NotUnique,
                [_] => MatchOutcome::Proposed,
                _ => MatchOutcome::Ambiguous,
            };
            (outcome, Some(by), ids)
        }
    };
    Proposal { company_id: company.id.clone(), outcome, by, candidates }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theirs(id: i64, identifier: &str, name: &str) -> CwCompany {
        CwCompany {
            id: CwCompanyId(id),
            identifier: identifier.into(),
            name: name.into(),
            status: None,
            deleted: false,
        }
    }

    fn ours(external_id: &str, name: &str) -> UnmatchedCompany {
        UnmatchedCompany { id: CompanyId::new(), external_id: external_id.into(), name: name.into() }
    }

    fn outcomes(proposals: &[Proposal]) -> Vec<(MatchOutcome, Option<MatchCriterion>)> {
        proposals.iter().map(|p| (p.outcome, p.by)).collect()
    }

    #[test]
    fn identifier_first_then_name_and_only_what_is_unique() {
        let offered =
            [theirs(1, "ACME", "Acme Inc"), theirs(2, "b", "Müller"), theirs(3, "c", "Twin"), theirs(4, "d", "twin")];
        let companies = [ours("acme", "Other"), ours("x", "MULLER"), ours("y", "Twin"), ours("z", "Nobody")];
        assert_eq!(
            outcomes(&propose(&companies, &offered, &HashSet::new())),
            [
                (MatchOutcome::Proposed, Some(MatchCriterion::Identifier)),
                (MatchOutcome::Proposed, Some(MatchCriterion::Name)),
                (MatchOutcome::Ambiguous, Some(MatchCriterion::Name)),
                (MatchOutcome::None, None),
            ]
        );
    }

    #[test]
    fn one_connectwise_company_is_not_proposed_to_two_companies() {
        let offered = [theirs(1, "acme", "Acme")];
        let both = [ours("acme", "A"), ours("other", "Acme")];
        assert!(propose(&both, &offered, &HashSet::new()).iter().all(|p| p.outcome == MatchOutcome::NotUnique));
        let taken = HashSet::from([CwCompanyId(1)]);
        assert_eq!(propose(&both[..1], &offered, &taken)[0].outcome, MatchOutcome::NotUnique);
    }
}
