//! Pictures as SVG, readable on light and dark pages: they bring a light neutral background.

use crate::metric::Metric;
use crate::report::number;
use crate::scenario::{PictureKind, Point, Scenario, SystemName};
use crate::verdict::{Figure, Session};
use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 56.0;
const INK: &str = "#24292f";
const GRID: &str = "#d0d7de";
const PAPER: &str = "#f6f8fa";
/// Labels of the percentile axis: part that is slower, and what it is called.
const NINES: [(f64, &str); 6] = [
    (1.0, "0"),
    (0.1, "90 %"),
    (0.01, "99 %"),
    (0.001, "99.9 %"),
    (1e-4, "99.99 %"),
    (1e-5, "99.999 %"),
];

/// Name of the file of a picture.
pub(crate) fn file(scenario: &Scenario, kind: PictureKind) -> String {
    let kind = match kind {
        PictureKind::Percentiles => "percentiles",
        PictureKind::Throughput => "throughput",
        PictureKind::Cpu => "cpu",
    };
    format!("{}-{kind}.svg", scenario.name)
}

/// Draws a picture: name of the file and content; `None` when there is nothing to show.
pub(crate) fn draw(session: &Session<'_>, kind: PictureKind) -> Option<(String, String)> {
    let svg = match kind {
        PictureKind::Percentiles => percentiles(session)?,
        PictureKind::Throughput => throughput(session)?,
        PictureKind::Cpu => cpu(session)?,
    };
    Some((file(session.scenario, kind), svg))
}

fn colour(system: SystemName) -> &'static str {
    match system {
        SystemName::Ringmq => "#c2410c",
        SystemName::Ring => "#6b7280",
        SystemName::Java550 => "#1d4ed8",
        SystemName::Java497 => "#0e7490",
        SystemName::Target => "#7c3aed",
    }
}

fn caption(system: SystemName) -> &'static str {
    match system {
        SystemName::Ringmq => "RingMQ",
        SystemName::Ring => "bare ring",
        SystemName::Java550 => "Java 5.5.0",
        SystemName::Java497 => "Java 4.9.7",
        SystemName::Target => "target",
    }
}

/// One axis: values on a log scale to pixels.
#[derive(Clone, Copy)]
struct LogAxis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl LogAxis {
    /// Whole decades around the values.
    fn around(values: &[f64], from: f64, to: f64) -> Option<LogAxis> {
        let positive = || values.iter().copied().filter(|value| *value > 0.0);
        let least = positive().min_by(f64::total_cmp)?;
        let most = positive().max_by(f64::total_cmp)?;
        let least = 10f64.powf(least.log10().floor());
        let most = 10f64.powf(most.log10().ceil()).max(least * 10.0);
        Some(LogAxis { least, most, from, to })
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.max(self.least) / self.least).log10() / (self.most / self.least).log10();
        self.from + (self.to - self.from) * part
    }

    fn decades(&self) -> Vec<f64> {
        std::iter::successors(Some(self.least), |value| Some(value * 10.0))
            .take_while(|value| *value <= self.most * 1.001)
            .collect()
    }
}

struct Canvas(String);

impl Canvas {
    fn new(title: &str, subtitle: &str) -> Canvas {
        let mut canvas = Canvas(String::new());
        canvas.put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"system-ui, 'DejaVu Sans', Arial, sans-serif\" font-size=\"12\" fill=\"{INK}\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"{PAPER}\"/>\n"
        ));
        canvas.text((LEFT, 20.0), "start", "font-size=\"15\" font-weight=\"600\"", title);
        canvas.text((LEFT, 37.0), "start", "", subtitle);
        canvas
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("writing to a string cannot fail");
    }

    fn text(&mut self, at: (f64, f64), anchor: &str, style: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let (x, y) = at;
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{text}</text>\n"
        ));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        self.put(format_args!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>\n",
            from.0, from.1, to.0, to.1
        ));
    }

    fn curve(&mut self, points: &[(f64, f64)], colour: &str, dashes: &str) {
        let list: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.put(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" {dashes}/>\n",
            list.join(" ")
        ));
    }

    fn value_axis(&mut self, axis: &LogAxis, title: &str) {
        for value in axis.decades() {
            let y = axis.at(value);
            self.line((LEFT, y), (WIDTH - RIGHT, y), GRID);
            self.text((LEFT - 8.0, y + 4.0), "end", "", &number(value));
        }
        let (x, y) = (18.0, (TOP + HEIGHT - BOTTOM) / 2.0);
        let style = format!("transform=\"rotate(-90 {x} {y})\"");
        self.text((x, y), "middle", &style, title);
    }

    fn legend(&mut self, row: usize, colour: &str, dashes: &str, text: &str) {
        let y = TOP + 14.0 + 18.0 * row as f64;
        let x = WIDTH - RIGHT + 10.0;
        self.curve(&[(x, y - 4.0), (x + 16.0, y - 4.0)], colour, dashes);
        self.text((x + 21.0, y), "start", "", text);
    }

    fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

/// The points a picture shows: those the scenario names, or all.
fn shown(session: &Session<'_>) -> Vec<Point> {
    let mut points = session.points();
    points.retain(|point| point.matches(&session.scenario.picture_at));
    points
}

fn percentiles(session: &Session<'_>) -> Option<String> {
    let point = shown(session).into_iter().next()?;
    let mut curves: Vec<(SystemName, Vec<(f64, f64)>)> = Vec::new();
    for system in session.systems() {
        let has = |name: &&str| session.valid(system, &point).any(|r| r.curves.contains_key(*name));
        let name = ["lateness", "end_to_end", "transaction"].into_iter().find(has);
        let name = name.unwrap_or("send");
        let rounds: Vec<&Vec<(f64, f64)>> =
            session.valid(system, &point).filter_map(|r| r.curves.get(name)).collect();
        let curve = median_curve(&rounds);
        if !curve.is_empty() {
            curves.push((system, curve));
        }
    }
    let values: Vec<f64> = curves.iter().flat_map(|(_, c)| c.iter().map(|(_, us)| *us)).collect();
    let axis = LogAxis::around(&values, HEIGHT - BOTTOM, TOP)?;
    let parts = LogAxis { least: 1e-5, most: 1.0, from: WIDTH - RIGHT, to: LEFT };
    let label = point.label(&session.scenario.points);
    let mut canvas = Canvas::new(&session.scenario.title, &label);
    canvas.value_axis(&axis, "latency, µs");
    for (slower, name) in NINES {
        let x = parts.at(slower);
        canvas.line((x, TOP), (x, HEIGHT - BOTTOM), GRID);
        canvas.text((x, HEIGHT - BOTTOM + 18.0), "middle", "", name);
    }
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    canvas.text((middle, HEIGHT - 14.0), "middle", "", "part of all messages that is not slower");
    for (row, (system, curve)) in curves.iter().enumerate() {
        let place = |(part, us): &(f64, f64)| (parts.at((1.0 - part).max(1e-5)), axis.at(*us));
        let points: Vec<(f64, f64)> = curve.iter().map(place).collect();
        canvas.curve(&points, colour(*system), "");
        canvas.legend(row, colour(*system), "", caption(*system));
    }
    Some(canvas.finish())
}

/// At each part the median of the rounds; the maximum is left out, it has no place on the axis.
fn median_curve(rounds: &[&Vec<(f64, f64)>]) -> Vec<(f64, f64)> {
    let Some(first) = rounds.first() else { return Vec::new() };
    let at = |index: usize| {
        let values: Vec<f64> =
            rounds.iter().filter_map(|round| round.get(index).map(|(_, us)| *us)).collect();
        crate::statistics::median(&values)
    };
    let parts = first.iter().enumerate().filter(|(_, (part, _))| *part < 1.0);
    parts.filter_map(|(index, (part, _))| Some((*part, at(index)?))).collect()
}

fn figure(session: &Session<'_>, system: SystemName, point: &Point, metric: Metric) -> Option<f64> {
    match session.figure(system, point, metric)? {
        Figure::Median(value) => Some(value),
        Figure::Unstable(_) => None,
    }
}

fn throughput(session: &Session<'_>) -> Option<String> {
    let points = shown(session);
    let mut depths: Vec<u32> = points.iter().map(|point| point.in_flight.unwrap_or(1)).collect();
    depths.sort_unstable();
    depths.dedup();
    let mut curves = Vec::new();
    for system in session.systems() {
        for (row, depth) in depths.iter().enumerate() {
            let of = |point: &&Point| point.in_flight.unwrap_or(1) == *depth;
            let value = |point: &Point| {
                let rate = figure(session, system, point, Metric::MessagesPerSecond)?;
                Some((f64::from(point.connections.unwrap_or(1)), rate))
            };
            let mut curve: Vec<(f64, f64)> = points.iter().filter(of).filter_map(value).collect();
            curve.sort_by(|a, b| a.0.total_cmp(&b.0));
            if !curve.is_empty() {
                curves.push((system, *depth, row, curve));
            }
        }
    }
    let pairs = || curves.iter().flat_map(|(_, _, _, curve)| curve.iter());
    let rates: Vec<f64> = pairs().map(|(_, rate)| *rate).collect();
    let mut ticks: Vec<f64> = pairs().map(|(count, _)| *count).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    let values = LogAxis::around(&rates, HEIGHT - BOTTOM, TOP)?;
    let (least, most) = (*ticks.first()?, *ticks.last()?);
    let counts = LogAxis { least, most: most.max(least * 2.0), from: LEFT, to: WIDTH - RIGHT };
    let mut canvas = Canvas::new(&session.scenario.title, "dashed: one request in flight");
    canvas.value_axis(&values, "messages/s");
    for tick in ticks {
        let x = counts.at(tick);
        canvas.line((x, TOP), (x, HEIGHT - BOTTOM), GRID);
        canvas.text((x, HEIGHT - BOTTOM + 18.0), "middle", "", &number(tick));
    }
    canvas.text(((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 14.0), "middle", "", "connections");
    for (row, (system, depth, dash, curve)) in curves.iter().enumerate() {
        let dashes = if *dash == 0 && depths.len() > 1 { "stroke-dasharray=\"6 4\"" } else { "" };
        let place = |(count, rate): &(f64, f64)| (counts.at(*count), values.at(*rate));
        let places: Vec<(f64, f64)> = curve.iter().map(place).collect();
        canvas.curve(&places, colour(*system), dashes);
        for (x, y) in places {
            let fill = colour(*system);
            canvas.put(format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{fill}\"/>\n"
            ));
        }
        let text = format!("{} × {depth}", caption(*system));
        canvas.legend(row, colour(*system), dashes, &text);
    }
    Some(canvas.finish())
}

fn cpu(session: &Session<'_>) -> Option<String> {
    let points = shown(session);
    let systems = session.systems();
    let value = |point: &Point, system| figure(session, system, point, Metric::CpuUs);
    let all: Vec<f64> = points
        .iter()
        .flat_map(|point| {
            systems.iter().filter_map(|system| value(point, *system)).collect::<Vec<_>>()
        })
        .collect();
    let axis = LogAxis::around(&all, HEIGHT - BOTTOM, TOP)?;
    let mut canvas = Canvas::new(&session.scenario.title, "CPU time of the server per message, µs");
    canvas.value_axis(&axis, "CPU-µs per message");
    let group = (WIDTH - RIGHT - LEFT) / points.len() as f64;
    let bar = group * 0.8 / systems.len() as f64;
    for (column, point) in points.iter().enumerate() {
        let left = LEFT + group * column as f64 + group * 0.1;
        for (at, system) in systems.iter().enumerate() {
            let Some(us) = value(point, *system) else { continue };
            let (x, y) = (left + bar * at as f64, axis.at(us));
            let (width, height, fill) = (bar * 0.9, HEIGHT - BOTTOM - y, colour(*system));
            canvas.put(format_args!(
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>\n"
            ));
            canvas.text((x + width / 2.0, y - 3.0), "middle", "font-size=\"9\"", &number(us));
        }
        let (connections, depth) = (point.connections.unwrap_or(1), point.in_flight.unwrap_or(1));
        let name = match point.connections {
            Some(_) => format!("{connections}×{depth}"),
            None => point.label(&session.scenario.points),
        };
        let middle = left + group * 0.4;
        canvas.text((middle, HEIGHT - BOTTOM + 18.0), "middle", "", &name);
    }
    let title = "connections × requests in flight";
    canvas.text(((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 14.0), "middle", "", title);
    for (row, system) in systems.iter().enumerate() {
        canvas.legend(row, colour(*system), "", caption(*system));
    }
    Some(canvas.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_axis_has_whole_decades() {
        let axis = LogAxis::around(&[30.0, 0.0, 4000.0], 300.0, 0.0).unwrap();
        assert_eq!((axis.least, axis.most), (10.0, 10_000.0));
        assert_eq!(axis.decades().len(), 4);
        assert!((axis.at(100.0) - 200.0).abs() < 1e-9);
        assert!(LogAxis::around(&[], 0.0, 1.0).is_none());
        let single = LogAxis::around(&[10.0], 0.0, 1.0).unwrap();
        assert!(single.most > single.least);
    }

    #[test]
    fn a_curve_is_the_median_of_the_rounds_without_the_maximum() {
        let a = vec![(0.5, 10.0), (1.0, 99.0)];
        let b = vec![(0.5, 30.0), (1.0, 98.0)];
        assert_eq!(median_curve(&[&a, &b, &a]), [(0.5, 10.0)]);
        assert!(median_curve(&[]).is_empty());
    }
}
