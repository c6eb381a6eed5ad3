//! What lies in a basket. People have a favourite shelf and a favourite thing on it, and what belongs together is bought together:
//! a dripper with its filters, a monstera with its pole. Whoever looks for lift finds it.

use std::ops::Range;

use super::{
    catalogue::{Category, PRODUCTS, price},
    dice::{About, Dice, Roll},
    ids,
    moment::{Date, Moment},
    money::Money,
    places::Currency,
    records::Refund,
};

/// One line of an order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// Index into [`PRODUCTS`].
    pub(super) product: usize,
    pub(super) quantity: i64,
    pub(super) unit_price: Money,
}

/// What is bought, and what it costs.
#[derive(Debug)]
pub(super) struct Basket {
    pub(super) lines: Vec<Line>,
    /// The code, and the per cent it takes off.
    pub(super) coupon: Option<(&'static str, i64)>,
    pub(super) discount: Money,
    /// Lines less discount.
    pub(super) total: Money,
}

/// How likely the next thing in a basket comes from the set of the one before, in per cent.
const TOGETHER: usize = 45;

/// A shelf and what one reaches for on it.
struct Taste {
    shelf: Category,
    favourite: usize,
}

impl Taste {
    fn of(dice: &Dice, who: u32) -> Self {
        let mut roll = dice.roll(About::Taste, who, 0);
        let shelf = Category::ALL[roll.weighted([38, 22, 18, 4, 8, 10].into_iter())];
        Self { shelf, favourite: from_shelf(&mut roll, shelf) }
    }
}

impl Basket {
    /// The basket of a customer's order (counted from 0). The attempt that failed before it held the same.
    pub(super) fn of(dice: &Dice, who: u32, nth: u16, placed: Moment, currency: Currency) -> Self {
        let taste = Taste::of(dice, who);
        let mut roll = dice.roll(About::Basket, who, nth);
        let size = 1 + roll.weighted([34, 31, 19, 11, 5].into_iter());
        let mut lines: Vec<Line> = Vec::with_capacity(size);
        for _ in 0..size {
            let product = match lines.last() {
                Some(last) if PRODUCTS[last.product].set != 0 && roll.below(100) < TOGETHER => partner(&mut roll, last.product),
                _ => alone(&mut roll, &taste),
            };
            if lines.iter().any(|line| line.product == product) {
                continue;
            }
            let cheap = !PRODUCTS[product].durable && roll.chance(0.25);
            let quantity = if cheap { roll.between(2, 3) } else { 1 };
            lines.push(Line { product, quantity, unit_price: price(dice, product, currency, placed) });
        }
        let coupon = match roll.below(100) {
            0..=29 if nth == 0 => Some(("WELCOME10", 10)),
            30..=33 if (3..=5).contains(&Date::of_day(placed.day()).month()) => Some(("SPRING15", 15)),
            34..=39 => Some(("FRIENDS5", 5)),
            _ => None,
        };
        let goods: Money = lines.iter().map(|line| line.unit_price.times(line.quantity)).sum();
        let discount = goods.percent(coupon.map_or(0, |(_, percent)| percent));
        Self { lines, coupon, discount, total: goods - discount }
    }

    /// The money given back for these lines (counted from 0), the discount taken off; all lines together give back the total.
    pub(super) fn give_back(&self, lines: Range<usize>, who: u32, number: u16, at: Moment) -> Vec<Refund> {
        let percent = self.coupon.map_or(0, |(_, percent)| percent);
        let whole = lines.len() == self.lines.len();
        let mut left = self.total;
        let mut refunds = Vec::with_capacity(lines.len());
        for index in lines.clone() {
            let line = &self.lines[index];
            let goods = line.unit_price.times(line.quantity);
            let amount = if whole && index + 1 == lines.end { left } else { goods - goods.percent(percent) };
            left = left - amount;
            let line_number = index as i64 + 1;
            let id = format!("{}-{line_number}", ids::order(who, number));
            refunds.push(Refund { id, at, amount, line: Some(line_number), quantity: Some(line.quantity) });
        }
        refunds
    }

    /// The line something went wrong with.
    pub(super) fn sore_point(&self, who: u32, nth: u16) -> usize {
        (who as usize + usize::from(nth)) % self.lines.len().max(1)
    }
}

fn alone(roll: &mut Roll, taste: &Taste) -> usize {
    match roll.below(100) {
        0..=34 if !PRODUCTS[taste.favourite].durable => taste.favourite,
        0..=69 => from_shelf(roll, taste.shelf),
        _ => {
            let shelf = *roll.pick(&Category::ALL);
            from_shelf(roll, shelf)
        }
    }
}

/// Something from a shelf; what stands in front sells better.
fn from_shelf(roll: &mut Roll, shelf: Category) -> usize {
    let products = shelf.shelf();
    let depth = roll.unit();
    products.start + (depth * depth * products.len() as f64) as usize
}

/// Something that belongs to this product.
fn partner(roll: &mut Roll, product: usize) -> usize {
    let set = PRODUCTS[product].set;
    let others = || PRODUCTS.iter().enumerate().filter(move |(index, other)| other.set == set && *index != product).map(|(index, _)| index);
    let count = others().count();
    others().nth(roll.below(count)).unwrap_or(product)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_that_belong_together_are_bought_together() {
        let dice = Dice::new(42);
        let at = Moment::seconds(1_795_309_200);
        let named = |name: &str| PRODUCTS.iter().position(|product| product.name.starts_with(name)).unwrap();
        let (dripper, filters) = (named("Pour-over Dripper"), named("Paper Filters 02"));
        let (mut baskets, mut with_dripper, mut with_filters, mut both) = (0.0, 0.0, 0.0, 0.0);
        for who in 0..20_000 {
            let basket = Basket::of(&dice, who, 0, at, Currency::Eur);
            let has = |product| basket.lines.iter().any(|line| line.product == product);
            baskets += 1.0;
            with_dripper += f64::from(u8::from(has(dripper)));
            with_filters += f64::from(u8::from(has(filters)));
            both += f64::from(u8::from(has(dripper) && has(filters)));
        }
        let lift = both * baskets / (with_dripper * with_filters);
        assert!(both >= 20.0 && lift > 2.0, "lift {lift} from {both} baskets");
    }

    #[test]
    fn a_total_is_its_lines_less_its_discount() {
        let dice = Dice::new(1);
        for who in 0..500 {
            let basket = Basket::of(&dice, who, 0, Moment::seconds(1_795_309_200), Currency::Jpy);
            let goods: i64 = basket.lines.iter().map(|line| line.unit_price.hundredths() * line.quantity).sum();
            assert!(!basket.lines.is_empty());
            assert_eq!(basket.total.hundredths(), goods - basket.discount.hundredths());
            assert!(basket.total.hundredths() % 100 == 0 && basket.discount.hundredths() % 100 == 0, "yen are whole");
        }
    }
}
