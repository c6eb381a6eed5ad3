//! The records the three systems give out, field by field as their APIs name them.

use serde::Serialize;

use super::{
    moment::{Date, Moment},
    money::Money,
};

/// A list of records one of the systems gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// `/crm/contacts`
    Contacts,
    /// `/crm/consents`
    Consents,
    /// `/shop/customers`
    Customers,
    /// `/shop/orders` with `status=any`
    Orders,
    /// `/shop/orders` without it: those neither delivered nor cancelled
    OpenOrders,
    /// `/shop/products`
    Products,
    /// `/shop/fx_rates`
    FxRates,
    /// `/helpdesk/tickets`
    Tickets,
    /// `/helpdesk/ratings`
    Ratings,
}

impl Stream {
    /// All of them, in the order of their definition.
    pub const ALL: [Self; 9] = [
        Self::Contacts,
        Self::Consents,
        Self::Customers,
        Self::Orders,
        Self::OpenOrders,
        Self::Products,
        Self::FxRates,
        Self::Tickets,
        Self::Ratings,
    ];
}

/// One record of any stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each variant is the record of the stream of that name")]
pub enum Record {
    Contact(Contact),
    Consent(Consent),
    Customer(Customer),
    Order(Order),
    Product(Product),
    FxRate(FxRate),
    Ticket(Ticket),
    Rating(Rating),
}

/// A contact of the CRM. One that was deleted keeps its id, its times and its link, and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are named as the API names them")]
pub struct Contact {
    pub id: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub honorific: Option<&'static str>,
    pub locale: Option<&'static str>,
    pub timezone: Option<&'static str>,
    pub country: Option<&'static str>,
    pub birthday: Option<Date>,
    pub shop_customer_id: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
    pub deleted_at: Option<Moment>,
}

/// A yes or a no that a contact gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are named as the API names them")]
pub struct Consent {
    pub id: String,
    pub contact_id: String,
    pub channel: &'static str,
    pub purpose: &'static str,
    pub status: &'static str,
    pub at: Moment,
    pub updated_at: Moment,
}

/// An account with the shop. One that was deleted keeps its id and its times, and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are named as the API names them")]
pub struct Customer {
    pub id: String,
    pub email: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub phone: Option<String>,
    pub locale: Option<&'static str>,
    pub country: Option<&'static str>,
    pub created_at: Moment,
    pub updated_at: Moment,
    pub deleted_at: Option<Moment>,
}

/// An order. Its total never changes; what was given back stands in `refunds`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are named as the API names them")]
pub struct Order {
    pub id: String,
    pub number: String,
    pub customer_id: Option<String>,
    pub email: Option<String>,
    pub ordered_at: Moment,
    pub updated_at: Moment,
    pub status: &'static str,
    pub delivered_at: Option<Moment>,
    pub currency: &'static str,
    pub total: Money,
    pub discount: Money,
    pub coupon_code: Option<&'static str>,
    pub channel: &'static str,
    pub line_items: Vec<LineItem>,
    pub refunds: Vec<Refund>,
}

/// A line of an order, counted from 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are named as the API names them")]
pub struct LineItem {
    pub line: i64,
    pub product_id: String,
    pub quantity: i64,
    pub unit_price: Money,
}

/// Money given back for a line of an order; the amount is positive.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are named as the API names them")]
pub struct Refund {
    pub id: String,
    pub at: Moment,
    pub amount: Money,
    pub line: Option<i64>,
    pub quantity: Option<i64>,
}

/// A product as it is sold today.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are named as the API names them")]
pub struct Product {
    pub id: String,
    pub name: &'static str,
    pub category: &'static str,
    pub url: String,
    pub image_url: String,
    pub price: Money,
    pub currency: &'static str,
    pub in_stock: bool,
    pub durable: bool,
    pub updated_at: Moment,
}

/// What one unit of a currency is worth in euro on a working day.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are named as the API names them")]
pub struct FxRate {
    pub currency: &'static str,
    pub date: Date,
    pub rate: String,
    pub updated_at: Moment,
}

/// A conversation with the help desk.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are named as the API names them")]
pub struct Ticket {
    pub id: String,
    pub requester_email: Option<String>,
    pub requester_id: Option<String>,
    pub subject: String,
    pub kind: &'static str,
    pub status: &'static str,
    pub opened_at: Moment,
    pub first_reply_at: Option<Moment>,
    pub resolved_at: Option<Moment>,
    pub updated_at: Moment,
    pub satisfaction: Option<&'static str>,
    pub order_id: Option<String>,
    pub product_id: Option<String>,
    pub agent_name: Option<&'static str>,
    pub summary_fix: Option<String>,
}

/// An answer to a survey, or a review.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the fields are named as the API names them")]
pub struct Rating {
    pub id: String,
    pub requester_email: Option<String>,
    pub kind: &'static str,
    pub score: i64,
    pub comment: Option<&'static str>,
    pub given_at: Moment,
    pub updated_at: Moment,
}
