//! The usage of a product in a month, and the quantities that its lines bill.

use std::collections::{HashMap, HashSet};

use crate::db::{BillingLine, CompanySelection, CountedByCompany, LineSettings, Product, Tx, UsageToRead};
use crate::domain::Result;
use crate::domain::calendar::{BillingCalendar, BillingMonth};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{CompanyId, ProductId};
use crate::domain::line_quantity::{Adjustment, QuantityBreakdown, QuantitySettings};
use crate::domain::push::PushReason;
use crate::domain::quantity::{Amount, BlockSize, IncludedQuantity, MinimumQuantity, Quantity};
use crate::domain::usage::{CountedUsage, UsageWindow};
use crate::domain::usage_totals::MonthlyCountedUsage;

/// The quantity that a line bills in a month, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputedQuantity {
    /// The billing month.
    pub month: BillingMonth,
    /// Whether the month had ended when the quantity was computed.
    pub month_closed: bool,
    /// The aggregated usage; `None` if no record counts. For a product that bills overage: the amount above the base
    /// product's included quantity.
    pub usage: Option<CountedUsage>,
    /// When the newest record was measured, if it is too old to count.
    pub too_old: Option<Timestamp>,
    /// The block size in effect: the line's own, or else the product's.
    pub block_size: BlockSize,
    /// The adjustment, if it applies to the month.
    pub adjustment: Option<Adjustment>,
    /// The minimum in effect: the line's own, or else the product's.
    pub minimum_quantity: Option<MinimumQuantity>,
    /// The included quantity in effect: the line's own, or else the product's. For a product that bills overage: the
    /// base product's.
    pub included_quantity: Option<IncludedQuantity>,
    /// The amount above the included quantity; `None` without an included quantity, without a quantity, and for a
    /// product that bills overage.
    pub overage: Option<Amount>,
    /// The steps to the quantity; `None` without a quantity.
    pub breakdown: Option<QuantityBreakdown>,
    /// The quantity; `None` without usage, or if ConnectWise cannot store the result.
    pub quantity: Option<Quantity>,
    /// Why there is no quantity although there are records.
    pub problem: Option<String>,
}

impl ComputedQuantity {
    /// The aggregated usage, in the product's unit.
    pub fn amount(&self) -> Option<Amount> {
        self.usage.map(|usage| usage.amount)
    }

    /// Why there is no quantity; `None` if there is one.
    pub fn without_quantity(&self) -> Option<PushReason> {
        match (&self.problem, self.quantity) {
            (Some(_), _) if self.too_old.is_some() => Some(PushReason::UsageTooOld),
            (Some(_), _) => Some(PushReason::QuantityNotStorable),
            (None, None) => Some(PushReason::NoUsage),
            (None, Some(_)) => None,
        }
    }
}

const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%SZ";

/// The moment at which usage is read, and whether its totals are complete.
#[derive(Debug, Clone, Copy)]
pub struct UsageReading<'c> {
    calendar: &'c BillingCalendar,
    now: Timestamp,
    /// Whether all records are part of the totals. If not, each product is checked for companies with missing records.
    all_totalled: bool,
}

impl<'c> UsageReading<'c> {
    /// Begins to read the usage that counts at `now`, within one transaction.
    pub fn begin(tx: &mut Tx<'_>, calendar: &'c BillingCalendar, now: Timestamp) -> Result<Self> {
        Ok(Self { calendar, now, all_totalled: !tx.has_usage_not_totalled()? })
    }

    /// The time within which a product's usage counts in a month.
    fn window(&self, product: &Product, month: BillingMonth) -> UsageWindow {
        UsageWindow::new(product.aggregation, product.max_usage_age_days, month, self.calendar, self.now)
    }
}

/// A product and the billing month in which its usage is loaded, for some companies.
#[derive(Debug)]
pub struct UsageToLoad {
    /// The product whose quantities are computed; it may bill the overage of another product.
    pub product: Product,
    /// The billing month in which usage counts.
    pub month: BillingMonth,
    /// The companies whose usage is needed.
    pub companies: Vec<CompanyId>,
}

impl UsageToLoad {
    fn key(&self) -> UsageKey {
        (self.product.id.clone(), self.month)
    }

    /// Asks for the usage of some of the companies.
    fn request(&self, companies: Vec<CompanyId>) -> UsageToRead {
        let (product_id, aggregation) = (self.product.id.clone(), self.product.aggregation);
        UsageToRead { product_id, aggregation, month: self.month, companies }
    }

    /// Asks for earlier usage of the companies without usage in the month, if the product is a gauge, whose record from
    /// before the month may count.
    fn request_earlier(&self, in_month: Option<&CountedByCompany>, reading: UsageReading<'_>) -> Option<UsageToRead> {
        let has_usage = |id: &&CompanyId| in_month.is_some_and(|counted| counted.contains_key(*id));
        let carries_over = reading.window(&self.product, self.month).carries_over;
        carries_over.then(|| self.request(self.companies.iter().filter(|id| !has_usage(id)).cloned().collect()))
    }
}

/// A product and a billing month.
type UsageKey = (ProductId, BillingMonth);

/// Adds to the usage of the months the usage that carries over: that of the newest month before, for each company without
/// usage in the month.
fn carry_over<'u>(
    tx: &mut Tx<'_>,
    wanted: impl Iterator<Item = &'u UsageToLoad>,
    reading: UsageReading<'_>,
    usage: &mut HashMap<UsageKey, CountedByCompany>,
) -> Result<()> {
    let earlier = wanted.filter_map(|one| one.request_earlier(usage.get(&one.key()), reading)).collect();
    for (key, counted) in tx.counted_usage_before_many(earlier)? {
        usage.entry(key).or_default().extend(counted);
    }
    Ok(())
}

/// The problem of each company of a product that bills the overage of a deleted product. An older version of the
/// service, which does not know of overage, may have deleted it.
fn base_deleted(selection: CompanySelection<'_>) -> HashMap<CompanyId, String> {
    let problem = || "the base product was deleted: delete this product as well".to_owned();
    selection.companies().iter().map(|company| (company.clone(), problem())).collect()
}

/// The usage of one product in one month, by company.
#[derive(Debug)]
pub struct MonthlyUsage {
    product: Product,
    month: BillingMonth,
    month_closed: bool,
    /// The usage that counts, for each company that has some.
    counted: HashMap<CompanyId, CountedUsage>,
    /// When the newest record was measured, for each company whose records are all too old.
    too_old: HashMap<CompanyId, Timestamp>,
    /// Why no quantity can be computed from a company's records.
    problems: HashMap<CompanyId, String>,
    /// For a product that bills overage: the included quantities above which it bills.
    included_quantities: HashMap<CompanyId, IncludedQuantity>,
}

impl MonthlyUsage {
    /// Loads the usage of some companies. The number of queries does not depend on the number of companies or records.
    /// For a product that bills overage, the usage is the amount above the base product's included quantity, computed
    /// with the current settings.
    pub fn load(
        tx: &mut Tx<'_>,
        product: Product,
        month: BillingMonth,
        reading: UsageReading<'_>,
        selection: CompanySelection<'_>,
    ) -> Result<Self> {
        let measured = |tx: &mut Tx<'_>, product: Product| {
            let in_month = tx.usage_counted(&product.id, product.aggregation, month, selection)?;
            let one = UsageToLoad { product, month, companies: selection.companies().to_vec() };
            let mut usage = HashMap::from([(one.key(), in_month)]);
            carry_over(tx, std::iter::once(&one), reading, &mut usage)?;
            let newest = usage.remove(&one.key()).unwrap_or_default();
            Self::measured(tx, one.product, month, reading, selection, newest)
        };
        let Some(of) = product.overage_of.clone() else { return measured(tx, product) };
        match tx.products_by_id(&[of])?.pop() {
            Some(base) => {
                let base = measured(tx, base)?;
                Self::overage(tx, product, &base, selection)
            }
            None => Ok(Self { problems: base_deleted(selection), ..measured(tx, product)? }),
        }
    }

    /// Loads the usage of many products, each in a month, as [`Self::load`] does for one. Products are read together
    /// where possible; products that bill overage, and records outside the totals, need queries of their own.
    pub fn load_all(
        tx: &mut Tx<'_>,
        wanted: Vec<UsageToLoad>,
        reading: UsageReading<'_>,
    ) -> Result<HashMap<UsageKey, Self>> {
        let bases: Vec<ProductId> = wanted.iter().filter_map(|one| one.product.overage_of.clone()).collect();
        let bases = if bases.is_empty() { Vec::new() } else { tx.products_by_id(&bases)? };
        let bases: HashMap<ProductId, Product> = bases.into_iter().map(|base| (base.id.clone(), base)).collect();
        let base_of = |product: &Product| product.overage_of.as_ref().and_then(|id| bases.get(id));
        // The usage of a product that bills overage is its base product's.
        let mut measured: HashMap<UsageKey, UsageToLoad> = HashMap::new();
        for one in &wanted {
            let product = base_of(&one.product).unwrap_or(&one.product);
            let new = || UsageToLoad { product: product.clone(), month: one.month, companies: Vec::new() };
            let load = measured.entry((product.id.clone(), one.month)).or_insert_with(new);
            load.companies.extend(one.companies.iter().cloned());
        }
        let requests: Vec<UsageToRead> = measured.values().map(|one| one.request(one.companies.clone())).collect();
        let mut newest = tx.counted_usage_of_many(&requests)?;
        carry_over(tx, measured.values(), reading, &mut newest)?;
        let mut usage = HashMap::with_capacity(wanted.len());
        for (key, UsageToLoad { product, month, companies }) in measured {
            let newest = newest.remove(&key).unwrap_or_default();
            let selection = CompanySelection::Only(&companies);
            usage.insert(key, Self::measured(tx, product, month, reading, selection, newest)?);
        }
        for UsageToLoad { product, month, companies } in wanted {
            let (key, selection) = ((product.id.clone(), month), CompanySelection::Only(&companies));
            match (base_of(&product), &product.overage_of) {
                (Some(base), _) => {
                    let Some(base) = usage.get(&(base.id.clone(), month)) else { continue };
                    let overage = Self::overage(tx, product, base, selection)?;
                    usage.insert(key, overage);
                }
                (None, Some(_)) => {
                    usage.entry(key).and_modify(|own| own.problems = base_deleted(selection));
                }
                (None, None) => {}
            }
        }
        Ok(usage)
    }

    /// The amounts above the included quantities of a base product's lines.
    fn overage(tx: &mut Tx<'_>, product: Product, base: &Self, selection: CompanySelection<'_>) -> Result<Self> {
        let (mut counted, mut problems, mut included_quantities) = (HashMap::new(), HashMap::new(), HashMap::new());
        for line in tx.line_settings(&base.product.id, selection)? {
            let computed = base.quantity_with(&line);
            included_quantities.extend(computed.included_quantity.map(|included| (line.company_id.clone(), included)));
            if let Some(problem) = computed.problem {
                problems.insert(line.company_id, problem);
            } else if let Some((usage, breakdown)) = computed.usage.zip(computed.breakdown) {
                match breakdown.overage() {
                    Ok(amount) => drop(counted.insert(line.company_id, CountedUsage { amount, ..usage })),
                    Err(error) => drop(problems.insert(line.company_id, error.to_string())),
                }
            }
        }
        let (month, month_closed, too_old) = (base.month, base.month_closed, base.too_old.clone());
        Ok(Self { product, month, month_closed, counted, too_old, problems, included_quantities })
    }

    /// The usage of a product's own records: `newest`, from the totals of the month or, where usage carries over, of each
    /// company's newest month before. The aggregation `last` is read at the end of the month, or now if that is earlier.
    fn measured(
        tx: &mut Tx<'_>,
        product: Product,
        month: BillingMonth,
        reading: UsageReading<'_>,
        selection: CompanySelection<'_>,
        mut newest: CountedByCompany,
    ) -> Result<Self> {
        let UsageReading { calendar, now, all_totalled } = reading;
        let window = reading.window(&product, month);
        let read_at = calendar.bounds(month).1.min(now);
        // The totals lack records that an earlier release stored. For the aggregation `last`, they also have no amount
        // but the newest one, which does not count if its time is in the future.
        let mut from_records =
            if all_totalled { HashSet::new() } else { tx.companies_not_totalled(&product.id, selection)? };
        let is_ahead = |totals: &MonthlyCountedUsage| window.carries_over && totals.last_at >= window.until;
        from_records.extend(newest.iter().filter(|(_, totals)| is_ahead(totals)).map(|(id, _)| id.clone()));
        newest.retain(|company, _| !from_records.contains(company));
        let (mut counted, mut too_old) = (HashMap::new(), HashMap::new());
        for (company, totals) in newest {
            if window.carries_over && totals.last_at < window.from {
                too_old.insert(company, totals.last_at);
            } else {
                counted.insert(company, totals.counted);
            }
        }
        let from_records: Vec<CompanyId> = from_records.into_iter().collect();
        for (company, totals) in tx.usage_between(&product.id, window.from, window.until, &from_records)? {
            counted.insert(company, totals.counted(product.aggregation));
        }
        if window.carries_over {
            let without_usage: Vec<CompanyId> =
                from_records.into_iter().filter(|id| !counted.contains_key(id)).collect();
            too_old.extend(tx.newest_usage_before(&product.id, window.from, &without_usage)?);
        }
        let mut problems: HashMap<CompanyId, String> =
            too_old.iter().map(|(company, at)| (company.clone(), too_old_problem(&product, *at, read_at))).collect();
        let mut valid = HashMap::with_capacity(counted.len());
        for (company, usage) in counted {
            match usage {
                Ok(usage) => drop(valid.insert(company, usage)),
                Err(overflow) => drop(problems.insert(company, overflow.to_string())),
            }
        }
        let included_quantities = HashMap::new();
        Ok(Self {
            product,
            month,
            month_closed: window.month_closed,
            counted: valid,
            too_old,
            problems,
            included_quantities,
        })
    }

    /// Computes the quantity of a line of the product.
    pub fn quantity_of(&self, line: &BillingLine) -> ComputedQuantity {
        self.quantity_with(&line.settings())
    }

    /// Computes the quantity of a line with these settings.
    pub fn quantity_with(&self, line: &LineSettings) -> ComputedQuantity {
        let is_overage = self.product.overage_of.is_some();
        let own_included = line.included_quantity.or(self.product.included_quantity).filter(|_| !is_overage);
        let mut computed = ComputedQuantity {
            month: self.month,
            month_closed: self.month_closed,
            usage: self.counted.get(&line.company_id).copied(),
            too_old: self.too_old.get(&line.company_id).copied(),
            block_size: line.block_size.unwrap_or(self.product.block_size),
            adjustment: line.adjustment.clone().filter(|adjustment| adjustment.applies_to(self.month)),
            minimum_quantity: line.minimum_quantity.or(self.product.minimum_quantity),
            included_quantity: if is_overage {
                self.included_quantities.get(&line.company_id).copied()
            } else {
                own_included
            },
            overage: None,
            breakdown: None,
            quantity: None,
            problem: self.problems.get(&line.company_id).cloned(),
        };
        let settings = QuantitySettings {
            adjustment: computed.adjustment.as_ref(),
            block_size: computed.block_size,
            rounding: self.product.rounding,
            minimum: computed.minimum_quantity,
            included: own_included,
        };
        match computed.usage.map(|usage| settings.quantity_of(usage.amount)).transpose() {
            Ok(breakdown) => {
                (computed.breakdown, computed.quantity) = (breakdown, breakdown.map(|breakdown| breakdown.quantity))
            }
            Err(error) => computed.problem = Some(error.to_string()),
        }
        let overage = own_included.and(computed.breakdown).map(|breakdown| breakdown.overage());
        match overage.transpose() {
            Ok(overage) => computed.overage = overage,
            Err(error) => computed.problem = Some(error.to_string()),
        }
        computed
    }

    /// The product, with the aggregation and rounding that apply.
    pub fn product(&self) -> &Product {
        &self.product
    }
}

/// The problem that a company's newest record is too old to count.
fn too_old_problem(product: &Product, at: Timestamp, read_at: Timestamp) -> String {
    let (days, at, read_at) = (product.max_usage_age_days, at.format(TIME_FORMAT), read_at.format(TIME_FORMAT));
    format!("the newest usage record was measured at {at}, more than {days} days before {read_at}: check the meter")
}
