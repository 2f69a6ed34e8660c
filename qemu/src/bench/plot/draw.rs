//! Axes, lines and bars; all that knows the drawing crate.

use anyhow::{Result, anyhow};
use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, ChartContext, LabelAreaPosition, SeriesLabelPosition};
use plotters::coord::{CoordTranslate, Shift};
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Rectangle};
use plotters::prelude::IntoLogRange;
use plotters::style::{BLACK, Color, Palette, Palette99, PaletteColor, ShapeStyle, WHITE};

use super::{Panel, Series};

const SIZE: (u32, u32) = (960, 540);
/// Ladders: width, height of the title, height of a panel, room for the legend.
const WIDE: u32 = 1440;
const HEAD: u32 = 40;
const PANEL: u32 = 220;
const LEGEND: u32 = 110;
const FONT: &str = "sans-serif";
/// Width of a group of bars; the rest is the gap to the next.
const GROUP: f64 = 0.8;

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn colour(index: usize) -> PaletteColor<Palette99> {
    Palette99::pick(index)
}

fn svg(size: (u32, u32), draw: impl FnOnce(&Canvas<'_>) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    {
        let canvas = SVGBackend::with_string(&mut text, size).into_drawing_area();
        canvas.fill(&WHITE).map_err(failed)?;
        draw(&canvas)?;
        canvas.present().map_err(failed)?;
    }
    Ok(text)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a plot could not be drawn: {error}")
}

fn builder<'a, 'b>(canvas: &'a Canvas<'b>, title: &str) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(canvas);
    builder
        .caption(title, (FONT, 22))
        .margin(16)
        .set_label_area_size(LabelAreaPosition::Left, 72)
        .set_label_area_size(LabelAreaPosition::Bottom, 48);
    builder
}

fn extent(series: &[Series], of: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
    let values = series.iter().flat_map(|series| &series.points).map(of);
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

/// The upper end of an axis from zero: some air above the highest value.
fn ceiling(highest: f64) -> f64 {
    if highest > 0.0 { highest * 1.08 } else { 1.0 }
}

/// Lines over a linear x.
pub(super) fn lines(title: &str, x: &str, y: &str, series: &[Series]) -> Result<String> {
    let (low, high) =
        (extent(series, |point| point.1).0.min(0.0), extent(series, |point| point.1).1);
    let last = extent(series, |point| point.0).1;
    svg(SIZE, |canvas| {
        let mut chart = builder(canvas, title)
            .build_cartesian_2d(0.0..last + 0.5, low..ceiling(high))
            .map_err(failed)?;
        chart.configure_mesh().x_desc(x).y_desc(y).disable_x_mesh().draw().map_err(failed)?;
        for (index, series) in series.iter().enumerate() {
            let style = ShapeStyle::from(&colour(index)).stroke_width(2);
            chart
                .draw_series([PathElement::new(series.points.clone(), style)])
                .map_err(failed)?
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
            let dots = series.points.iter().map(|point| Circle::new(*point, 3, style.filled()));
            chart.draw_series(dots).map_err(failed)?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperLeft)
    })
}

/// Steps over axes that are both logarithmic, since the tail is what matters.
pub(super) fn tails(title: &str, unit: &str, series: &[Series]) -> Result<String> {
    let (first, last) = extent(series, |point| point.0);
    let low = extent(series, |point| point.1).0;
    svg(SIZE, |canvas| {
        let mut chart = builder(canvas, title)
            .build_cartesian_2d((first / 2.0..last * 2.0).log_scale(), (low / 2.0..1.0).log_scale())
            .map_err(failed)?;
        let share = |share: &f64| format!("{share:e}");
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(unit)
            .y_desc("share of samples")
            .y_label_formatter(&share)
            .draw()
            .map_err(failed)?;
        for (index, series) in series.iter().enumerate() {
            let style = ShapeStyle::from(&colour(index)).stroke_width(2);
            chart
                .draw_series([PathElement::new(steps(&series.points, last * 2.0), style)])
                .map_err(failed)?
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight)
    })
}

/// Each share holds from its bound to the next one.
fn steps(points: &[(f64, f64)], end: f64) -> Vec<(f64, f64)> {
    let next = points.iter().skip(1).map(|point| point.0).chain([end]);
    points.iter().zip(next).flat_map(|(&(x, y), next)| [(x, y), (next, y)]).collect()
}

/// A panel below the other, each with a group of bars for every rung.
pub(super) fn bars(title: &str, panels: &[Panel]) -> Result<String> {
    let height = HEAD + PANEL * u32::try_from(panels.len())?;
    svg((WIDE, height), |canvas| {
        let canvas = canvas.titled(title, (FONT, 22)).map_err(failed)?;
        let areas = canvas.split_evenly((panels.len(), 1));
        areas.iter().zip(panels).try_for_each(|(area, panel)| bar_panel(area, panel))
    })
}

fn bar_panel(area: &Canvas<'_>, panel: &Panel) -> Result<()> {
    let (low, high) = extent(&panel.series, |point| point.1);
    let range = low.min(0.0)..ceiling(high);
    let width = GROUP / panel.series.len() as f64;
    let right = panel.rungs.len() as f64 - 0.5;
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.column, (FONT, 16))
        .margin(8)
        .margin_right(LEGEND)
        .set_label_area_size(LabelAreaPosition::Left, 64)
        .set_label_area_size(LabelAreaPosition::Bottom, 28)
        .build_cartesian_2d(-0.5..right, range)
        .map_err(failed)?;
    let name = |x: &f64| {
        let index =
            panel.rungs.iter().enumerate().find(|(index, _)| (*index as f64 - x).abs() < 1e-6);
        index.map_or_else(String::new, |(_, name)| name.clone())
    };
    let mut mesh = chart.configure_mesh();
    // So many labels are one for each whole number.
    mesh.disable_x_mesh().x_labels(panel.rungs.len()).x_label_formatter(&name).y_labels(5);
    mesh.draw().map_err(failed)?;
    for (index, series) in panel.series.iter().enumerate() {
        let style = ShapeStyle::from(&colour(index)).filled();
        let left = index as f64 * width - GROUP / 2.0;
        let bar =
            |(x, y): &(f64, f64)| Rectangle::new([(x + left, 0.0), (x + left + width, *y)], style);
        chart
            .draw_series(series.points.iter().map(bar))
            .map_err(failed)?
            .label(&series.name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], style));
    }
    // Beside the bars: above them it would hide some.
    let beside = i32::try_from(area.dim_in_pixel().0.saturating_sub(LEGEND + 64))?;
    legend(&mut chart, SeriesLabelPosition::Coordinate(beside, 0))
}

fn legend<'b, T: CoordTranslate>(
    chart: &mut ChartContext<'b, SVGBackend<'b>, T>,
    place: SeriesLabelPosition,
) -> Result<()> {
    let mut labels = chart.configure_series_labels();
    labels
        .position(place)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(failed)
}
