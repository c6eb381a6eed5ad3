//! What the practice shop sells: coffee, tea, plants, and the things one makes, keeps and grows them with.

use super::{
    dice::{About, Dice},
    moment::{DAY, Date, Moment, new_year},
    money::Money,
    places::Currency,
};

/// A shelf of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
    Coffee,
    Tea,
    Plants,
    Brewing,
    Garden,
    Kitchen,
}

impl Category {
    pub(super) const ALL: [Self; 6] = [Self::Coffee, Self::Tea, Self::Plants, Self::Brewing, Self::Garden, Self::Kitchen];

    /// As the shop's API spells it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Coffee => "coffee",
            Self::Tea => "tea",
            Self::Plants => "plants",
            Self::Brewing => "brewing",
            Self::Garden => "garden",
            Self::Kitchen => "kitchen",
        }
    }

    /// Where its products begin and end in [`PRODUCTS`], which stands in the order of the categories.
    pub(super) fn shelf(self) -> std::ops::Range<usize> {
        let start = PRODUCTS.partition_point(|product| (product.category as usize) < self as usize);
        let end = PRODUCTS.partition_point(|product| product.category as usize <= self as usize);
        start..end
    }
}

/// One thing the shop sells.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) name: &'static str,
    pub(super) category: Category,
    /// List price in euro cents.
    cents: i64,
    /// Whether one of it is enough for years.
    pub(super) durable: bool,
    /// Products with the same number are bought together; 0 belongs to none.
    pub(super) set: u8,
}

impl Product {
    /// The part of its address: `kenya-nyeri-250-g`.
    pub(super) fn slug(&self) -> String {
        let mut slug = String::with_capacity(self.name.len());
        for letter in self.name.chars() {
            match letter {
                'A'..='Z' => slug.push(letter.to_ascii_lowercase()),
                'a'..='z' | '0'..='9' => slug.push(letter),
                'é' | 'è' => slug.push('e'),
                'ü' => slug.push_str("ue"),
                'ō' => slug.push('o'),
                'ū' => slug.push('u'),
                '\'' | '’' => {}
                _ if !slug.ends_with('-') => slug.push('-'),
                _ => {}
            }
        }
        slug.trim_end_matches('-').to_owned()
    }
}

/// A product's id; the first is `P1001`.
pub(super) fn product_id(index: usize) -> String {
    format!("P{}", 1001 + index)
}

/// What a product costs in this currency in the year of that instant: each New Year some prices move a little.
pub(super) fn price(dice: &Dice, index: usize, currency: Currency, at: Moment) -> Money {
    let year = Date::of_day(at.day()).year();
    let moved = [95, 100, 100, 100, 105][dice.roll(About::Shelf, index as u32, year as u16).below(5)];
    let (per_thousand, step) = currency.prices();
    let exact = PRODUCTS[index].cents * moved * per_thousand / 100_000;
    Money::new((exact + step / 2) / step * step, currency)
}

/// Whether a product was to be had at an instant, and since when its price and stock have been as they are.
pub(super) fn stock(dice: &Dice, index: usize, at: Moment) -> (bool, Moment) {
    // Every spell of four weeks, one product in fourteen sells out for some days.
    const SPELL: i64 = 28;
    let mut changed = Moment::midnight(new_year(Date::of_day(at.day()).year()));
    let mut available = true;
    let spell = at.day() / SPELL;
    for spell in spell - 13..=spell {
        let mut roll = dice.roll(About::Shelf, (index as u32) << 16 | (spell as u32 & 0xffff), 1);
        if roll.chance(1.0 / 14.0) {
            let out = Moment::midnight(spell * SPELL).plus(roll.between(6 * 3600, 8 * DAY));
            let back = out.plus(roll.between(2 * DAY, 18 * DAY));
            for (instant, state) in [(out, false), (back, true)] {
                if instant <= at {
                    available = state;
                    changed = changed.max(instant);
                }
            }
        }
    }
    (available, changed)
}

const fn item(category: Category, name: &'static str, cents: i64, durable: bool, set: u8) -> Product {
    Product { name, category, cents, durable, set }
}

const fn coffee(name: &'static str, cents: i64, set: u8) -> Product {
    item(Category::Coffee, name, cents, false, set)
}

const fn tea(name: &'static str, cents: i64, set: u8) -> Product {
    item(Category::Tea, name, cents, false, set)
}

const fn plant(name: &'static str, cents: i64, set: u8) -> Product {
    item(Category::Plants, name, cents, false, set)
}

/// The whole catalogue, in the order of [`Category::ALL`].
#[rustfmt::skip]
pub(super) static PRODUCTS: &[Product] = &[
    coffee("House Espresso, 1 kg", 2690, 1), coffee("House Espresso, 250 g", 890, 1), coffee("Kenya Nyeri, 250 g", 1290, 2),
    coffee("Ethiopia Guji, 250 g", 1350, 2), coffee("Colombia Huila, 250 g", 1150, 2), coffee("Brazil Cerrado, 500 g", 1590, 1),
    coffee("Guatemala Antigua, 250 g", 1190, 3), coffee("Sumatra Mandheling, 250 g", 1250, 3), coffee("Decaf Peru, 250 g", 1090, 0),
    coffee("Costa Rica Honey Process, 250 g", 1490, 2), coffee("Rwanda Kivu, 250 g", 1320, 2), coffee("Breakfast Blend, 500 g", 1490, 3),
    coffee("Breakfast Blend, 250 g", 850, 3), coffee("India Monsooned Malabar, 250 g", 1120, 1), coffee("Winter Filter, 250 g", 1190, 2),
    coffee("Yemen Mocha, 200 g", 2190, 0), coffee("Panama Geisha, 100 g", 2890, 2), coffee("Cold Brew Coarse Grind, 500 g", 1390, 4),
    coffee("Cold Brew Concentrate, 500 ml", 990, 4), coffee("Turkish Grind with Cardamom, 250 g", 940, 0), coffee("Vietnam Robusta, 500 g", 1190, 0),
    coffee("Tasting Box: Four Filters", 2990, 2), coffee("Tasting Box: Four Espressos", 2890, 1), coffee("Instant for Walkers, 10 sachets", 1250, 0),
    coffee("Honduras Marcala, 250 g", 1090, 3), coffee("Oat Barista Drink, 6 × 1 l", 1590, 1),

    tea("Earl Grey, 100 g", 790, 5), tea("Darjeeling First Flush, 100 g", 1690, 5), tea("Assam Breakfast, 250 g", 1090, 5),
    tea("Sencha Kagoshima, 100 g", 1590, 6), tea("Gyokuro Uji, 50 g", 2490, 6), tea("Ceremonial Matcha, 30 g", 2690, 7), tea("Kitchen Matcha, 100 g", 1890, 7),
    tea("Genmaicha, 100 g", 890, 6), tea("Hōjicha, 100 g", 950, 6), tea("Jasmine Pearls, 100 g", 1390, 8), tea("Oolong Tie Guan Yin, 100 g", 1790, 8),
    tea("White Peony, 50 g", 1290, 8), tea("Pu-erh Cake, 357 g", 3490, 8), tea("Lapsang Souchong, 100 g", 990, 5), tea("Rooibos Vanilla, 200 g", 890, 9),
    tea("Peppermint Leaves, 100 g", 590, 9), tea("Camomile Flowers, 100 g", 650, 9), tea("Ginger & Lemon, 20 bags", 490, 9), tea("Hibiscus & Rosehip, 150 g", 690, 9),
    tea("Masala Chai, 250 g", 1050, 10), tea("Nettle & Fennel, 20 bags", 450, 9), tea("English Breakfast, 80 bags", 790, 5), tea("Iced Tea Peach, 200 g", 890, 0),
    tea("Children's Fruit Tea, 20 bags", 430, 0), tea("Advent Tea Box, 24 bags", 1990, 0), tea("Acacia Honey, 500 g", 1190, 9), tea("Rock Sugar Sticks, 250 g", 590, 10),

    plant("Monstera deliciosa, 40 cm", 2490, 11), plant("Monstera adansonii, 15 cm", 1290, 11), plant("Swiss Cheese Vine, hanging", 1690, 11),
    plant("Pilea peperomioides", 1190, 12), plant("String of Hearts", 1390, 12), plant("Snake Plant, 50 cm", 2190, 13), plant("ZZ Plant, 45 cm", 2390, 13),
    plant("Golden Pothos", 990, 12), plant("Fiddle-leaf Fig, 90 cm", 4990, 11), plant("Olive Tree, 80 cm", 4590, 14), plant("Lemon Tree, 70 cm", 4290, 14),
    plant("Rosemary in a Pot", 590, 15), plant("Thai Basil in a Pot", 490, 15), plant("Mint in a Pot", 450, 15), plant("Chives in a Pot", 450, 15),
    plant("Chili ‘Lemon Drop’, seedling", 490, 15), plant("Aloe vera", 1090, 13), plant("Echeveria Trio", 1290, 13), plant("Cactus Mix, 5 pieces", 1990, 13),
    plant("Calathea orbifolia", 2290, 11), plant("Boston Fern", 1590, 12), plant("Maidenhair Fern", 1390, 12), plant("Orchid Phalaenopsis, white", 1990, 0),
    plant("Peace Lily", 1790, 12), plant("Rubber Plant, 60 cm", 2990, 11), plant("Coffee Plant, 20 cm", 1190, 2), plant("Tea Camellia, 40 cm", 2490, 5),
    plant("Lavender, 3 pieces", 1290, 14), plant("Herb Seeds, 6 sachets", 1190, 15), plant("Wildflower Seeds for Bees, 100 g", 890, 14),

    item(Category::Brewing, "Pour-over Dripper, porcelain", 2490, true, 2), item(Category::Brewing, "Paper Filters 02, 100 pieces", 590, false, 2),
    item(Category::Brewing, "Hand Grinder, steel burrs", 8990, true, 2), item(Category::Brewing, "Gooseneck Kettle, 1 l", 6990, true, 2),
    item(Category::Brewing, "Kitchen Scale with Timer", 3990, true, 2), item(Category::Brewing, "Moka Pot, 6 cups", 3490, true, 1),
    item(Category::Brewing, "Moka Pot Seals, 3 pieces", 490, false, 1), item(Category::Brewing, "Milk Jug, 350 ml", 1890, true, 1),
    item(Category::Brewing, "Espresso Cups, set of 4", 2990, true, 1), item(Category::Brewing, "Tamper, 58 mm", 3290, true, 1),
    item(Category::Brewing, "Descaler, 500 ml", 990, false, 1), item(Category::Brewing, "French Press, 1 l", 3290, true, 3),
    item(Category::Brewing, "French Press Mesh, spare", 790, false, 3), item(Category::Brewing, "Cold Brew Bottle, 750 ml", 2490, true, 4),
    item(Category::Brewing, "Cold Brew Filter Bags, 20 pieces", 890, false, 4), item(Category::Brewing, "Teapot, cast iron, 0.8 l", 5990, true, 5),
    item(Category::Brewing, "Teapot, glass, 1.2 l", 3490, true, 8), item(Category::Brewing, "Tea Strainer, fine", 990, true, 5),
    item(Category::Brewing, "Paper Tea Filters, 100 pieces", 390, false, 9), item(Category::Brewing, "Matcha Whisk, bamboo", 1890, false, 7),
    item(Category::Brewing, "Matcha Bowl, hand thrown", 3490, true, 7), item(Category::Brewing, "Kyūsu, Tokoname clay", 6490, true, 6),
    item(Category::Brewing, "Travel Mug, 400 ml", 2790, true, 3), item(Category::Brewing, "Tea Tins, set of 3", 1990, true, 5),
    item(Category::Brewing, "Coffee Canister with Valve", 2990, true, 3), item(Category::Brewing, "Milk Frother, hand held", 1590, true, 10),

    item(Category::Garden, "Terracotta Pot, 12 cm", 590, true, 12), item(Category::Garden, "Terracotta Pot, 24 cm", 1490, true, 11),
    item(Category::Garden, "Glazed Planter, 30 cm", 3990, true, 14), item(Category::Garden, "Self-watering Planter", 2990, true, 11),
    item(Category::Garden, "Hanging Basket, woven", 1990, true, 12), item(Category::Garden, "Potting Soil without Peat, 20 l", 1290, false, 12),
    item(Category::Garden, "Cactus Soil, 5 l", 690, false, 13), item(Category::Garden, "Citrus Soil, 20 l", 1490, false, 14),
    item(Category::Garden, "Herb Soil, 10 l", 890, false, 15), item(Category::Garden, "Green Plant Fertiliser, 500 ml", 890, false, 11),
    item(Category::Garden, "Citrus Fertiliser, 500 ml", 950, false, 14), item(Category::Garden, "Moss Pole, 60 cm", 1190, true, 11),
    item(Category::Garden, "Plant Mister, brass", 2290, true, 12), item(Category::Garden, "Watering Can, 1.5 l", 2490, true, 12),
    item(Category::Garden, "Secateurs, forged", 3490, true, 14), item(Category::Garden, "Gardener's Gloves", 1490, true, 14),
    item(Category::Garden, "Hand Trowel, ash handle", 1690, true, 15), item(Category::Garden, "Herb Planter for Windowsills", 2290, true, 15),
    item(Category::Garden, "Neem Oil, 250 ml", 1090, false, 11), item(Category::Garden, "Plant Light, clip-on", 3290, true, 13),
    item(Category::Garden, "Seed Trays, 3 pieces", 990, true, 15), item(Category::Garden, "Plant Labels, slate, 10 pieces", 890, true, 15),

    item(Category::Kitchen, "Chef's Knife, 20 cm", 8990, true, 16), item(Category::Kitchen, "Paring Knife", 2490, true, 16),
    item(Category::Kitchen, "Whetstone, 1000/6000", 4490, true, 16), item(Category::Kitchen, "Chopping Board, walnut", 5490, true, 16),
    item(Category::Kitchen, "Board Oil, 250 ml", 1190, false, 16), item(Category::Kitchen, "Cast-iron Pan, 28 cm", 5990, true, 17),
    item(Category::Kitchen, "Chain-mail Scrubber", 1790, true, 17), item(Category::Kitchen, "Pan Seasoning Paste, 100 ml", 990, false, 17),
    item(Category::Kitchen, "Carbon-steel Wok", 4990, true, 17), item(Category::Kitchen, "Enamel Pot, 4 l", 6490, true, 17),
    item(Category::Kitchen, "Baking Form, crème brûlée, set of 6", 2490, true, 18), item(Category::Kitchen, "Proofing Basket, 1 kg", 1990, true, 18),
    item(Category::Kitchen, "Rye Flour, 2.5 kg", 690, false, 18), item(Category::Kitchen, "Sourdough Starter, dried", 790, false, 18),
    item(Category::Kitchen, "Bread Lame", 1290, true, 18), item(Category::Kitchen, "Linen Bread Bag", 1490, true, 18),
    item(Category::Kitchen, "Mortar, granite", 3990, true, 19), item(Category::Kitchen, "Whole Spices, 6 jars", 2490, false, 19),
    item(Category::Kitchen, "Smoked Sea Salt, 150 g", 790, false, 19), item(Category::Kitchen, "Olive Oil from Crete, 750 ml", 1690, false, 19),
    item(Category::Kitchen, "Chilli Oil, 200 ml", 890, false, 19), item(Category::Kitchen, "Beeswax Wraps, set of 3", 1690, false, 0),
    item(Category::Kitchen, "Tea Towels, linen, 2 pieces", 1890, true, 0), item(Category::Kitchen, "Apron, waxed cotton", 4490, true, 0),
    item(Category::Kitchen, "Preserving Jars, set of 6", 2190, true, 0), item(Category::Kitchen, "Dish Soap Bar, lemon", 690, false, 0),
    item(Category::Kitchen, "Dish Brush Heads, 3 pieces", 590, false, 0), item(Category::Kitchen, "Grandmother's Cookbook", 2990, true, 19),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_catalogue_is_in_order_and_every_product_has_its_own_address() {
        assert!((120..=200).contains(&PRODUCTS.len()), "{} products", PRODUCTS.len());
        assert!(PRODUCTS.is_sorted_by_key(|product| product.category as usize));
        assert_eq!(Category::ALL.iter().map(|category| category.shelf().len()).sum::<usize>(), PRODUCTS.len());
        let slugs: HashSet<String> = PRODUCTS.iter().map(Product::slug).collect();
        assert_eq!(slugs.len(), PRODUCTS.len());
        assert!(slugs.iter().all(|slug| slug.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')), "{slugs:?}");
    }

    #[test]
    fn products_sell_out_and_come_back() {
        let dice = Dice::new(42);
        let at = Moment::seconds(1_795_309_200);
        let out = (0..PRODUCTS.len()).filter(|index| !stock(&dice, *index, at).0).count();
        assert!((1..PRODUCTS.len() / 6).contains(&out), "{out} out of stock");
        assert!((0..PRODUCTS.len()).all(|index| stock(&dice, index, at).1 <= at));
    }
}
