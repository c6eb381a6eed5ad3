//! Where boxes and lines stand in a drawing of what reads what: data goes from left to right, in columns. Pure: numbers in, numbers out.
//!
//! After Sugiyama, Tagawa and Toda (1981): columns by the longest way from a beginning, an order in each that crosses few lines, then
//! places near those of the neighbours. A line that passes columns goes by a waypoint in each, so that it runs between boxes, not behind
//! them; all lines that leave one box share its waypoints, as wires share a trunk.

use std::collections::{BTreeMap, BTreeSet};

/// The height of a box, in pixels.
const HEIGHT: i32 = 26;
/// The room a trunk takes in a column it passes.
const TRUNK: i32 = 6;
/// The least distance between two things in a column.
const GAP: i32 = 8;
/// The least distance between two columns, and the largest: lines that rise steeply need more room to be told apart.
const AISLE: (i32, i32) = (30, 96);
/// The empty border of a drawing.
const MARGIN: i32 = 8;
/// How often the order is swept through from left to right and back.
const SWEEPS: usize = 12;

/// From a node that is read to one that reads it, by their places.
type Edge = (usize, usize);

/// A box to be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    /// How wide it is.
    pub(super) width: i32,
    /// Those of a later band stand to the right of all those of an earlier one, whatever they read.
    pub(super) band: usize,
}

/// A drawing, in pixels.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Drawing {
    /// Its width.
    pub(super) width: i32,
    /// Its height.
    pub(super) height: i32,
    /// The boxes, in the order of the nodes.
    pub(super) boxes: Vec<Placed>,
    /// The lines, or stretches that several lines share.
    pub(super) lines: Vec<Line>,
}

/// A box in its place: its left upper corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: i32,
    pub(super) height: i32,
}

/// A stretch between two columns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The node it comes from.
    pub(super) from: usize,
    /// The nodes it leads to.
    pub(super) to: BTreeSet<usize>,
    /// Where it begins.
    pub(super) start: (i32, i32),
    /// Where it ends.
    pub(super) end: (i32, i32),
    /// How far it then runs on through a column it passes; where it begins for a line that enters a box.
    pub(super) on: i32,
    /// It closes a circle, and so goes from right to left.
    pub(super) back: bool,
}

impl Line {
    /// Its path, as SVG writes it.
    pub(super) fn path(&self) -> String {
        let ((x1, y1), (x2, y2)) = (self.start, self.end);
        if self.back {
            let (right, left, below) = (x1 + MARGIN, x2 - MARGIN, y1.max(y2) + HEIGHT);
            return format!("M{x1} {y1}C{right} {y1} {right} {below} {} {below}S{left} {y2} {x2} {y2}", i32::midpoint(x1, x2));
        }
        let middle = i32::midpoint(x1, x2);
        let on = if self.on > x2 { format!("H{}", self.on) } else { String::new() };
        if y1 == y2 { format!("M{x1} {y1}H{}", self.on.max(x2)) } else { format!("M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}{on}") }
    }
}

/// Something that stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    /// A box.
    Node(usize),
    /// The trunk of a node that stands further left.
    Trunk(usize),
}

impl Item {
    fn height(self) -> f64 {
        f64::from(match self {
            Self::Node(_) => HEIGHT,
            Self::Trunk(_) => TRUNK,
        })
    }
}

/// Draws nodes and what they read: each edge goes from what is read to what reads it.
pub(super) fn draw(nodes: &[Node], edges: &BTreeSet<Edge>) -> Drawing {
    if nodes.is_empty() {
        return Drawing::default();
    }
    let (forward, back) = without_circles(nodes.len(), edges);
    let layers = layers(nodes, &forward);
    let mut chart = Chart::new(&layers, &forward);
    chart.order();
    let heights = chart.heights();
    chart.drawing(nodes, &heights, &back)
}

/// The edges without those that close a circle, and those.
fn without_circles(nodes: usize, edges: &BTreeSet<Edge>) -> (Vec<Edge>, Vec<Edge>) {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        OnTheWay,
        Done,
    }
    let mut out: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    for (from, to) in edges {
        out[*from].push(*to);
    }
    let mut seen = vec![Seen::Not; nodes];
    let (mut forward, mut back) = (Vec::new(), Vec::new());
    for root in 0..nodes {
        if seen[root] != Seen::Not {
            continue;
        }
        seen[root] = Seen::OnTheWay;
        let mut way = vec![(root, 0)];
        while let Some((node, next)) = way.last_mut() {
            let from = *node;
            let Some(to) = out[from].get(*next).copied() else {
                seen[from] = Seen::Done;
                way.pop();
                continue;
            };
            *next += 1;
            if seen[to] == Seen::OnTheWay {
                back.push((from, to));
                continue;
            }
            forward.push((from, to));
            if seen[to] == Seen::Not {
                seen[to] = Seen::OnTheWay;
                way.push((to, 0));
            }
        }
    }
    (forward, back)
}

/// The column of each node: right of everything it reads and of all earlier bands, and what reads nothing close to what reads it.
fn layers(nodes: &[Node], edges: &[Edge]) -> Vec<usize> {
    let mut layer = vec![0; nodes.len()];
    let order = topological(nodes.len(), edges);
    let bands: BTreeSet<usize> = nodes.iter().map(|node| node.band).collect();
    for band in bands {
        let before = (0..nodes.len()).filter(|node| nodes[*node].band < band).map(|node| layer[node] + 1).max().unwrap_or(0);
        for node in (0..nodes.len()).filter(|node| nodes[*node].band == band) {
            layer[node] = layer[node].max(before);
        }
        for node in &order {
            for (_, to) in edges.iter().filter(|(from, _)| from == node) {
                layer[*to] = layer[*to].max(layer[*node] + 1);
            }
        }
    }
    let mut last = BTreeMap::new();
    for (node, layer) in nodes.iter().zip(&layer) {
        let last = last.entry(node.band).or_insert(0);
        *last = (*layer).max(*last);
    }
    for node in 0..nodes.len() {
        let reads = edges.iter().any(|(_, to)| *to == node);
        let first_reader = edges.iter().filter(|(from, _)| *from == node).map(|(_, to)| layer[*to]).min();
        if let Some(first) = first_reader.filter(|_| !reads) {
            layer[node] = layer[node].max((first - 1).min(last[&nodes[node].band]));
        }
    }
    // A column nobody stands in is none.
    let used: BTreeSet<usize> = layer.iter().copied().collect();
    layer.iter().map(|layer| used.range(..layer).count()).collect()
}

/// The nodes, each after what it reads.
fn topological(nodes: usize, edges: &[Edge]) -> Vec<usize> {
    let mut open = vec![0_usize; nodes];
    for (_, to) in edges {
        open[*to] += 1;
    }
    let mut order: Vec<usize> = (0..nodes).filter(|node| open[*node] == 0).collect();
    let mut at = 0;
    while let Some(node) = order.get(at).copied() {
        at += 1;
        for (_, to) in edges.iter().filter(|(from, _)| *from == node) {
            open[*to] -= 1;
            if open[*to] == 0 {
                order.push(*to);
            }
        }
    }
    order
}

/// What stands in each column, and what of it is joined to the next.
struct Chart {
    columns: Vec<Vec<Item>>,
    /// Of each aisle: from an item of the column before it to one of the column behind it, with the nodes it leads to.
    joints: Vec<Vec<(Item, Item, BTreeSet<usize>)>>,
}

impl Chart {
    fn new(layers: &[usize], edges: &[Edge]) -> Self {
        let count = layers.iter().max().map_or(0, |last| last + 1);
        let mut columns = vec![Vec::new(); count];
        for (node, layer) in layers.iter().enumerate() {
            columns[*layer].push(Item::Node(node));
        }
        let mut readers: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (from, to) in edges {
            readers.entry(*from).or_default().insert(*to);
        }
        let mut joints = vec![Vec::new(); count.saturating_sub(1)];
        for (from, readers) in readers {
            let mut here = Item::Node(from);
            let last = readers.iter().map(|to| layers[*to]).max().unwrap_or_default();
            for aisle in layers[from]..last {
                let further: BTreeSet<usize> = readers.iter().copied().filter(|to| layers[*to] > aisle + 1).collect();
                for to in readers.iter().copied().filter(|to| layers[*to] == aisle + 1) {
                    joints[aisle].push((here, Item::Node(to), BTreeSet::from([to])));
                }
                if !further.is_empty() {
                    let trunk = Item::Trunk(from);
                    columns[aisle + 1].push(trunk);
                    joints[aisle].push((here, trunk, further));
                    here = trunk;
                }
            }
        }
        Self { columns, joints }
    }

    /// Puts each item near the middle of its neighbours, from left to right and back, and keeps the order that crosses the fewest lines.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.columns.clone());
        for sweep in 0..SWEEPS {
            let onward = sweep % 2 == 0;
            let columns: Vec<usize> = if onward { (1..self.columns.len()).collect() } else { (0..self.columns.len() - 1).rev().collect() };
            for column in columns {
                let (other, joints) = if onward { (column - 1, &self.joints[column - 1]) } else { (column + 1, &self.joints[column]) };
                let middle = |item: &Item, place: usize| {
                    let ends = joints.iter().filter_map(|(from, to, _)| match onward {
                        true => (to == item).then_some(from),
                        false => (from == item).then_some(to),
                    });
                    let places: Vec<usize> = ends.filter_map(|end| self.columns[other].iter().position(|item| item == end)).collect();
                    if places.is_empty() { place as f64 } else { places.iter().sum::<usize>() as f64 / places.len() as f64 }
                };
                let mut order: Vec<(f64, Item)> =
                    self.columns[column].iter().enumerate().map(|(place, item)| (middle(item, place), *item)).collect();
                order.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.columns[column] = order.into_iter().map(|(_, item)| item).collect();
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.columns.clone());
            }
        }
        self.columns = best.1;
    }

    /// How many pairs of lines cross.
    fn crossings(&self) -> usize {
        let mut crossings = 0;
        for (aisle, joints) in self.joints.iter().enumerate() {
            let place = |column: usize, item: &Item| self.columns[column].iter().position(|other| other == item).unwrap_or_default();
            let mut ends: Vec<(usize, usize)> = joints.iter().map(|(from, to, _)| (place(aisle, from), place(aisle + 1, to))).collect();
            ends.sort_unstable();
            // Of each line, how many earlier ones end below it: counted in a tree of sums (Fenwick 1994), for a project may have thousands.
            let mut sums = vec![0_usize; self.columns[aisle + 1].len() + 1];
            for (earlier, (_, end)) in ends.iter().enumerate() {
                let (mut above, mut at) = (0, end + 1);
                while at > 0 {
                    above += sums[at];
                    at &= at - 1;
                }
                crossings += earlier - above;
                let mut at = end + 1;
                while at < sums.len() {
                    sums[at] += 1;
                    at += at & at.wrapping_neg();
                }
            }
        }
        crossings
    }

    /// The middle of each item, from the top: as near to its neighbours' as the order and the gaps allow.
    fn heights(&self) -> Vec<Vec<f64>> {
        let stacked = |column: &Vec<Item>| {
            let mut top = 0.0;
            let middles = column.iter().map(|item| {
                let middle = top + item.height() / 2.0;
                top += item.height() + f64::from(GAP);
                middle
            });
            middles.collect::<Vec<f64>>()
        };
        let mut heights: Vec<Vec<f64>> = self.columns.iter().map(stacked).collect();
        let last = self.columns.len() - 1;
        let onward = (0..=last).map(|column| (column, true, false));
        let homeward = (0..=last).rev().map(|column| (column, false, true));
        let both = (0..=last).map(|column| (column, true, true));
        let rounds = onward.clone().chain(homeward.clone()).chain(onward).chain(homeward).chain(both);
        for (column, before, behind) in rounds {
            let wanted = self.columns[column].iter().enumerate().map(|(place, item)| {
                let mut ends: Vec<f64> = Vec::new();
                if before && column > 0 {
                    let joints = self.joints[column - 1].iter().filter(|(_, to, _)| to == item);
                    ends.extend(joints.filter_map(|(from, ..)| self.height_of(&heights, column - 1, from)));
                }
                if behind && column < last {
                    let joints = self.joints[column].iter().filter(|(from, ..)| from == item);
                    ends.extend(joints.filter_map(|(_, to, _)| self.height_of(&heights, column + 1, to)));
                }
                if ends.is_empty() { heights[column][place] } else { ends.iter().sum::<f64>() / ends.len() as f64 }
            });
            heights[column] = apart(&self.columns[column], wanted.collect());
        }
        heights
    }

    fn height_of(&self, heights: &[Vec<f64>], column: usize, item: &Item) -> Option<f64> {
        self.columns[column].iter().position(|other| other == item).map(|place| heights[column][place])
    }

    fn drawing(&self, nodes: &[Node], heights: &[Vec<f64>], back: &[Edge]) -> Drawing {
        let top = self
            .columns
            .iter()
            .zip(heights)
            .flat_map(|(items, middles)| items.iter().zip(middles).map(|(item, middle)| middle - item.height() / 2.0));
        let top = top.fold(f64::INFINITY, f64::min);
        let y = |middle: f64| (middle - top).round() as i32 + MARGIN;
        let mut boxes = vec![Placed { x: 0, y: 0, width: 0, height: HEIGHT }; nodes.len()];
        let height = |column: usize, item: &Item| y(self.height_of(heights, column, item).unwrap_or_default());
        let aisle = |aisle: usize| {
            let steepest = self.joints[aisle].iter().map(|(from, to, _)| (height(aisle, from) - height(aisle + 1, to)).abs()).max();
            (AISLE.0 + steepest.unwrap_or_default() / 6).min(AISLE.1)
        };
        let (mut x, mut sides) = (MARGIN, Vec::new());
        for (column, (items, middles)) in self.columns.iter().zip(heights).enumerate() {
            x += column.checked_sub(1).map_or(0, aisle);
            let widths = items.iter().filter_map(|item| if let Item::Node(node) = item { Some(nodes[*node].width) } else { None });
            let width = widths.max().unwrap_or_default();
            for (item, middle) in items.iter().zip(middles) {
                if let Item::Node(node) = item {
                    boxes[*node] = Placed { x, y: y(*middle) - HEIGHT / 2, width, height: HEIGHT };
                }
            }
            sides.push((x, x + width));
            x += width;
        }
        let mut lines = Vec::new();
        for (aisle, joints) in self.joints.iter().enumerate() {
            for (from, to, readers) in joints {
                let (Item::Node(node) | Item::Trunk(node)) = *from;
                let (left, right) = sides[aisle + 1];
                let (start, end) = ((sides[aisle].1, height(aisle, from)), (left, height(aisle + 1, to)));
                let on = if matches!(to, Item::Trunk(_)) { right } else { left };
                lines.push(Line { from: node, to: readers.clone(), start, end, on, back: false });
            }
        }
        for (from, to) in back {
            let (a, b) = (boxes[*from], boxes[*to]);
            let (start, end) = ((a.x + a.width, a.y + HEIGHT / 2), (b.x, b.y + HEIGHT / 2));
            lines.push(Line { from: *from, to: BTreeSet::from([*to]), start, end, on: b.x, back: true });
        }
        // A line that closes a circle turns round beside and below its boxes.
        let room = if back.is_empty() { 0 } else { HEIGHT };
        let bottom = boxes.iter().map(|placed| placed.y + placed.height).chain(lines.iter().map(|line| line.end.1)).max();
        Drawing { width: x + MARGIN + room, height: bottom.unwrap_or_default() + MARGIN + room, boxes, lines }
    }
}

/// Places in the order of a column, none nearer to the next than it may be, and as near to those wanted as that allows: the least squares
/// of a monotone row, by pooling neighbours that would change places (Ayer and others 1955).
fn apart(items: &[Item], wanted: Vec<f64>) -> Vec<f64> {
    let mut offsets = Vec::with_capacity(items.len());
    let mut offset = 0.0;
    for (place, item) in items.iter().enumerate() {
        if let Some(above) = place.checked_sub(1).map(|above| items[above]) {
            offset += (above.height() + item.height()) / 2.0 + f64::from(GAP);
        }
        offsets.push(offset);
    }
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (wanted, offset) in wanted.iter().zip(&offsets) {
        let mut pool = (wanted - offset, 1);
        while let Some((sum, count)) = pools.last().copied().filter(|(sum, count)| sum / *count as f64 > pool.0 / pool.1 as f64) {
            pools.pop();
            pool = (pool.0 + sum, pool.1 + count);
        }
        pools.push(pool);
    }
    let middles = pools.iter().flat_map(|(sum, count)| std::iter::repeat_n(sum / *count as f64, *count));
    middles.zip(&offsets).map(|(middle, offset)| middle + offset).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn boxes(count: usize) -> Vec<Node> {
        vec![Node { width: 100, band: 0 }; count]
    }

    fn drawn(count: usize, edges: &[(usize, usize)]) -> Drawing {
        draw(&boxes(count), &edges.iter().copied().collect())
    }

    /// Nothing overlaps, every line goes to the right and ends where its box stands, and every edge is drawn.
    fn holds(nodes: &[Node], edges: &BTreeSet<(usize, usize)>) {
        let drawing = draw(nodes, edges);
        assert_eq!(drawing.boxes.len(), nodes.len());
        for (at, a) in drawing.boxes.iter().enumerate() {
            assert!(a.x >= MARGIN && a.y >= MARGIN && a.x + a.width + MARGIN <= drawing.width && a.y + a.height + MARGIN <= drawing.height);
            assert!(a.width >= nodes[at].width);
            for b in &drawing.boxes[at + 1..] {
                let beside = a.x + a.width < b.x || b.x + b.width < a.x;
                let above = a.y + a.height < b.y || b.y + b.height < a.y;
                assert!(beside || above, "{a:?} overlaps {b:?}");
            }
        }
        let mut led = BTreeSet::new();
        for line in &drawing.lines {
            led.extend(line.to.iter().map(|to| (line.from, *to)));
            if line.back {
                continue;
            }
            assert!(line.start.0 < line.end.0 && line.end.0 <= line.on, "{line:?}");
            if line.on > line.end.0 {
                // A trunk runs through a column: between its boxes, not behind them.
                let hit = |one: &&Placed| one.x == line.end.0 && one.y <= line.end.1 && line.end.1 <= one.y + one.height;
                assert_eq!(drawing.boxes.iter().find(hit), None, "{line:?}");
            } else {
                let to = drawing.boxes[*line.to.first().unwrap()];
                assert_eq!((line.to.len(), line.end), (1, (to.x, to.y + HEIGHT / 2)));
            }
        }
        assert_eq!(led, *edges);
    }

    #[test]
    fn data_goes_from_left_to_right() {
        let drawing = drawn(4, &[(0, 1), (1, 2), (0, 2), (3, 2)]);
        let x: Vec<i32> = drawing.boxes.iter().map(|placed| placed.x).collect();
        assert!(x[0] < x[1] && x[1] < x[2], "{x:?}");
        assert_eq!(x[3], x[1], "what reads nothing stands close to its reader");
        assert_eq!(drawing.lines.iter().filter(|line| line.from == 0).count(), 3, "one to 1, two stretches to 2");
    }

    #[test]
    fn a_later_band_stands_to_the_right_of_an_earlier_one() {
        let mut nodes = boxes(4);
        nodes[3].band = 1;
        let drawing = draw(&nodes, &BTreeSet::from([(0, 1), (1, 2), (0, 3)]));
        assert!(drawing.boxes[3].x > drawing.boxes[2].x);
    }

    #[test]
    fn lines_that_need_not_cross_do_not() {
        let drawing = drawn(6, &[(0, 5), (1, 4), (2, 3)]);
        let y = |node: usize| drawing.boxes[node].y;
        assert_eq!((y(0), y(1), y(2)), (y(5), y(4), y(3)));
    }

    #[test]
    fn circles_are_drawn_and_end() {
        for edges in [&[(0, 0)][..], &[(0, 1), (1, 0)], &[(0, 1), (1, 2), (2, 0), (2, 3)]] {
            let drawing = drawn(4, edges);
            assert_eq!(drawing.lines.iter().filter(|line| line.back).count(), 1, "{edges:?}");
            holds(&boxes(4), &edges.iter().copied().collect());
        }
        assert_eq!(draw(&[], &BTreeSet::new()), Drawing::default());
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let edges: Vec<(usize, usize)> = (1..400).map(|to| (to - 1, to)).collect();
        assert_eq!(drawn(400, &edges).height, HEIGHT + 2 * MARGIN);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn nothing_overlaps_whatever_reads_what(
            nodes in prop::collection::vec((60..240, 0_usize..3), 1..40),
            edges in prop::collection::btree_set((0_usize..40, 0_usize..40), 0..120),
        ) {
            let nodes: Vec<Node> = nodes.into_iter().map(|(width, band)| Node { width, band }).collect();
            let edges = edges.into_iter().filter(|(from, to)| from.max(to) < &nodes.len()).collect();
            holds(&nodes, &edges);
            prop_assert_eq!(draw(&nodes, &edges), draw(&nodes, &edges));
        }
    }
}
