//! Sample records: a small MSP with every kind of problem, or any number of plain records.

use serde_json::{Value, json};

use super::store::{Kind, Store};

/// The customers' names. [`identifier`] returns their ConnectWise identifiers.
pub const CUSTOMERS: [&str; 66] = [
    "Abbott Family Dental",
    "Alder Creek Winery",
    "Apex Title Agency",
    "Arbor Veterinary Clinic",
    "Beacon Hill Law",
    "Birchwood Academy",
    "Blue Heron Marine",
    "Brightline Logistics",
    "Calloway Orthopedics",
    "Canyon Ridge Realty",
    "Cedar & Stone Builders",
    "Clearwater Insurance",
    "Copper Kettle Foods",
    "Crescent Moon Hotel",
    "Dalton Precision Tools",
    "Delmar Accounting Group",
    "Eastgate Pediatrics",
    "Elm Street Credit Union",
    "Evergreen Landscaping",
    "Fairview Museum",
    "Falcon Freight Lines",
    "Fischer & Söhne GmbH",
    "Foundry Lofts HOA",
    "Gateway Physical Therapy",
    "Glenwood Country Club",
    "Granite Peak Mining",
    "Harbor Dental Group",
    "Hawthorne Publishing",
    "Highland Eye Care",
    "Horizon Solar Works",
    "Ironwood Fabrication",
    "Jasper County Library",
    "Juniper Health Partners",
    "Keystone Auto Body",
    "Kingsley Architects",
    "Lakeshore Property Mgmt",
    "Larkspur Bakery",
    "Liberty Court Reporting",
    "Lumen Optics",
    "Maple Leaf Nursing Home",
    "Meridian Travel",
    "Millbrook Plumbing",
    "Monarch Textiles",
    "Northfield Grain Co-op",
    "Oakdale Surgical Center",
    "Old Mill Brewing",
    "Orchard Valley School",
    "Palisade Engineering",
    "Pinecrest Church",
    "Prairie Wind Energy",
    "Quarry Road Storage",
    "Redstone Roofing",
    "Riverbend Chiropractic",
    "Rosewood Funeral Home",
    "Saddleback Outfitters",
    "Silver Lake Marina",
    "Stonebridge Capital",
    "Summit Staffing",
    "Tamarack Timber",
    "Thornton Electric",
    "Twin Pines Motel",
    "Union Street Deli",
    "Valley Forge Machine",
    "Westbrook Pharmacy",
    "Willow Glen Spa",
    "Zenith Data Recovery",
];

/// Customers whose storage is not invoiced at its full quantity: two units are included, or it is not billed.
const INCLUDED: usize = 13;
const NOT_BILLED: usize = 14;
/// Index of the first customer without a company of its own in ConnectWise.
pub const FIRST_UNKNOWN: usize = 62;
/// Customers with two agreements that the backup rules match.
pub const AMBIGUOUS: [usize; 2] = [4, 5];
/// Another customer with two such agreements. The demo chooses one by hand.
pub const MANUAL: usize = 9;
/// The customer with two storage additions on its agreement.
pub const TWO_ADDITIONS: usize = 6;
/// Customers without an agreement that the backup rules match.
pub const UNRESOLVED: [usize; 2] = [7, 8];
/// The customer whose agreement the demo cancels after it was mapped.
pub const TO_BE_CANCELLED: usize = 10;
/// Customers whose storage additions already have the quantity that the demo's usage results in.
pub const UNCHANGED: [usize; 2] = [11, 12];
/// The customer whose storage addition rejects every change.
pub const REJECTING: usize = 15;

/// A customer's identifier in ConnectWise: the ASCII letters and digits of its name, at most 30.
pub fn identifier(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).take(30).collect()
}

/// A customer's company id in ConnectWise.
pub fn company_id(index: usize) -> i64 {
    250 + number(index)
}

/// The ConnectWise id of a customer's backup agreement.
pub fn backup_agreement(index: usize) -> i64 {
    1_000 + number(index) * 10
}

/// The ConnectWise id of the storage addition on a customer's backup agreement.
pub fn storage_addition(index: usize) -> i64 {
    50_000 + number(index) * 10
}

fn number(index: usize) -> i64 {
    i64::try_from(index).unwrap_or_default()
}

/// A small MSP. Every customer before [`FIRST_UNKNOWN`] has a backup agreement and a workspace agreement, with the
/// exceptions above.
pub fn small(storage_quantity: impl Fn(usize) -> f64) -> Store {
    let mut store = Store::default();
    for (id, name) in [(1, "SP Backup"), (2, "SP Workspace"), (3, "Managed Services"), (4, "Break Fix")] {
        store.put(Kind::Types, json!({"id": id, "name": name, "inactiveFlag": false}));
    }
    for (index, name) in CUSTOMERS.iter().enumerate().take(FIRST_UNKNOWN) {
        store.put(Kind::Companies, company(company_id(index), &identifier(name), name));
        customer(&mut store, index, &storage_quantity);
    }
    // Two companies with the same name: auto-match must not choose between them.
    let twin = CUSTOMERS[FIRST_UNKNOWN + 1];
    store.put(Kind::Companies, company(900, "TwinEast", twin));
    store.put(Kind::Companies, company(901, "TwinWest", twin));
    store.put(Kind::Agreements, agreement(9_010, 901, "Backup Services 2026", (1, "SP Backup")));
    store.put(Kind::Additions, addition(90_100, 9_010, "BKP-GB", "Backup storage, 100 GB", 1.0));
    store.reject(
        storage_addition(REJECTING),
        "The agreement is not prorated and its period was invoiced: use a date on or after the next invoice date",
    );
    store
}

fn customer(store: &mut Store, index: usize, storage_quantity: &impl Fn(usize) -> f64) {
    let (company, backup) = (company_id(index), backup_agreement(index));
    let managed = agreement(backup + 1, company, "Managed Services", (3, "Managed Services"));
    store.put(Kind::Agreements, managed);
    store.put(Kind::Agreements, agreement(backup + 2, company, "Workspace Seats", (2, "SP Workspace")));
    store.put(Kind::Additions, addition(storage_addition(index) + 2, backup + 2, "WS-SEAT", "Workspace seat", 1.0));
    if UNRESOLVED.contains(&index) {
        return;
    }
    let quantity = if UNCHANGED.contains(&index) { storage_quantity(index) } else { 1.0 };
    store.put(Kind::Agreements, agreement(backup, company, "Backup Services 2026", (1, "SP Backup")));
    let storage = storage_addition(index);
    store.put(Kind::Additions, addition(storage, backup, "BKP-GB", "Backup storage, 100 GB", quantity));
    store.put(Kind::Additions, addition(storage + 1, backup, "BKP-ACCT", "Protected account", 2.0));
    if AMBIGUOUS.contains(&index) || index == MANUAL {
        store.put(Kind::Agreements, agreement(backup + 3, company, "Backup Services East", (1, "SP Backup")));
        store.put(Kind::Additions, addition(storage + 3, backup + 3, "BKP-GB", "Backup storage, 100 GB", 1.0));
        store.put(Kind::Additions, addition(storage + 4, backup + 3, "BKP-ACCT", "Protected account", 1.0));
    }
    let special = match index {
        INCLUDED => json!({"lessIncluded": 2.0}),
        NOT_BILLED => json!({"billCustomer": "DoNotBill"}),
        _ => json!({}),
    };
    store.merge(Kind::Additions, storage, special.as_object().cloned().unwrap_or_default());
    if index == TWO_ADDITIONS {
        store.put(Kind::Additions, addition(storage + 5, backup, "BKP-GB", "Backup storage, archive", 1.0));
    }
}

/// Plain records: companies, each with `agreements_each` agreements, each with `additions_each` additions.
pub fn many(companies: i64, agreements_each: i64, additions_each: i64) -> Store {
    let mut store = Store::default();
    for c in 1..=companies {
        store.put(Kind::Companies, company(c, &format!("C{c}"), &format!("Customer {c:06}")));
        for a in 0..agreements_each {
            let id = c * agreements_each + a;
            let kind = if a == 0 { (1, "SP Backup") } else { (3, "Managed Services") };
            store.put(Kind::Agreements, agreement(id, c, &format!("Agreement {a} of customer {c:06}"), kind));
            for n in 0..additions_each {
                let product = if n == 0 { "BKP-GB".to_owned() } else { format!("OTHER-{n}") };
                store.put(Kind::Additions, addition(id * additions_each + n, id, &product, "Line item", 1.0));
            }
        }
    }
    store
}

/// A company record, with typical members.
pub fn company(id: i64, identifier: &str, name: &str) -> Value {
    json!({
        "id": id, "identifier": identifier, "name": name, "status": {"id": 1, "name": "Active"}, "city": "Tampa",
        "state": "FL", "phoneNumber": null, "deletedFlag": false, "isVendorFlag": false,
        "_info": {"lastUpdated": "2026-10-01T12:00:00Z", "updatedBy": "sandbox"}
    })
}

/// An agreement record, with the relevant members. `kind` is the id and name of its type.
pub fn agreement(id: i64, company: i64, name: &str, kind: (i64, &str)) -> Value {
    json!({
        "id": id, "name": name, "type": {"id": kind.0, "name": kind.1}, "company": {"id": company},
        "contact": {"id": 1, "name": "Accounts Payable"}, "startDate": "2026-01-01T00:00:00Z", "endDate": null,
        "noEndingDateFlag": true, "cancelledFlag": false, "dateCancelled": null, "reasonCancelled": null,
        "agreementStatus": "Active", "billTime": "DoNotBill", "billProducts": "Billable",
        "billingCycle": {"id": 2, "name": "Monthly"}, "prorateFlag": true,
        "currency": {"id": 7, "currencyCode": "USD", "symbol": "$", "name": "US Dollars"},
        "_info": {"lastUpdated": "2026-10-01T12:00:00Z", "updatedBy": "sandbox"}
    })
}

/// An addition record, with the relevant members.
pub fn addition(id: i64, agreement: i64, product: &str, description: &str, quantity: f64) -> Value {
    json!({
        "id": id, "product": {"id": 7, "identifier": product}, "quantity": quantity, "lessIncluded": 0.0,
        "unitPrice": 9.5, "unitCost": 4.0, "billCustomer": "Billable", "effectiveDate": "2026-01-01T00:00:00Z",
        "cancelledDate": null, "taxableFlag": true, "description": description, "invoiceDescription": description,
        "agreementId": agreement, "billedQuantity": quantity, "uom": "Each", "extPrice": quantity * 9.5,
        "agreementStatus": "Active", "serialNumber": null,
        "_info": {"lastUpdated": "2026-10-01T12:00:00Z", "updatedBy": "sandbox"}
    })
}
