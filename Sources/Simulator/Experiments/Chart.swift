/// A chart as SVG: panels one below the other over one x axis, a legend, marks at moments.
///
/// Readable by itself: white ground, axes with units and ticks, no script, no font but the reader's
/// own.
struct Chart {
    enum Style: Hashable, Sendable {
        case line, dashed
        /// Points with a line between them.
        case marked
        /// `points` goes along the upper edge, `lower` along the lower one.
        case band
    }

    struct Series {
        var name: String
        var color: String
        var style = Style.line
        var points: [(x: Double, y: Double)]
        var lower: [Double] = []
        /// Left out of the legend.
        var isUnnamed = false
    }

    struct Panel {
        /// Said above it; empty: nothing.
        var title = ""
        var yLabel: String
        var y: ClosedRange<Double>
        /// y grows by factors; its range must be above zero.
        var isLogarithmic = false
        /// The first is drawn last, over the others.
        var series: [Series]
        /// Drawn so many units high.
        var height = 300.0
        /// Grid lines of y are this far apart; nil: chosen.
        var yStep: Double?
    }

    /// A vertical line through all panels with words at its head.
    struct Mark {
        var x: Double
        var text: String
    }

    var title: String
    var subtitle: String
    var xLabel: String
    var x: ClosedRange<Double>
    var panels: [Panel]
    var marks: [Mark] = []
    /// Said below the axis: what the chart is made from.
    var note = ""

    // What the picture is made of, in units of the view box.
    private static let width = 860.0
    private static let left = 74.0, right = 24.0
    private static let headHeight = 66.0, legendHeight = 24.0, titleHeight = 22.0, footHeight = 52.0
    private static let gap = 16.0
    private static let ink = "#222", faint = "#e6e6e6", axis = "#888"

    func svg() -> String {
        let top = Self.headHeight + Self.legendHeight * Double(legendRows.count)
        let plots = panels.reduce(-Self.gap) { $0 + $1.height + titleHeight(of: $1) + Self.gap }
        let height = top + plots + Self.footHeight + (note.isEmpty ? 0 : 18)
        var out =
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Self.width.short(0)) "
            + "\(height.short(0))\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" "
            + "fill=\"\(Self.ink)\">\n"
        out += "<title>\(escaped(title))</title>\n"
        out += "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        out += text(Self.left, 26, title, size: 17, weight: "bold")
        out += text(Self.left, 46, subtitle, color: "#555")
        out += legend(at: Self.headHeight)
        var y = top
        for (i, panel) in panels.enumerated() {
            y += titleHeight(of: panel)
            out += plot(panel, top: y, isFirst: i == 0, isLast: i == panels.count - 1)
            y += panel.height + Self.gap
        }
        y -= Self.gap
        out += text((Self.left + Self.width - Self.right) / 2, y + 42, xLabel, anchor: "middle")
        if !note.isEmpty { out += text(Self.left, y + 64, note, size: 11, color: "#777") }
        return out + "</svg>\n"
    }

    private func titleHeight(of panel: Panel) -> Double {
        panel.title.isEmpty ? 0 : Self.titleHeight
    }

    // MARK: Places

    private func place(x value: Double) -> Double {
        let share = (value - x.lowerBound) / (x.upperBound - x.lowerBound)
        return Self.left + share * (Self.width - Self.left - Self.right)
    }

    private func place(y value: Double, _ panel: Panel, top: Double) -> Double {
        let inside = min(max(value, panel.y.lowerBound), panel.y.upperBound)
        func position(_ y: Double) -> Double { panel.isLogarithmic ? Self.logarithm(y) : y }
        let low = position(panel.y.lowerBound), high = position(panel.y.upperBound)
        return top + (1 - (position(inside) - low) / (high - low)) * panel.height
    }

    /// To base two, by its power series: good enough to draw.
    private static func logarithm(_ value: Double) -> Double {
        let t = (value.significand - 1) / (value.significand + 1)
        var sum = 0.0, power = t
        for n in stride(from: 1.0, to: 20, by: 2) { sum += power / n; power *= t * t }
        return Double(value.exponent) + 2 * sum / 0.693_147_180_559_945_3
    }

    /// A step of 1, 2, 2.5 or 5 times a power of ten that divides `span` into at most `most` parts.
    static func step(_ span: Double, maximum: Double) -> Double {
        var unit = 1.0
        while unit * maximum < span { unit *= 10 }
        while unit * maximum >= span * 10 { unit /= 10 }
        for factor in [0.1, 0.2, 0.25, 0.5] where unit * factor * maximum >= span {
            return unit * factor
        }
        return unit
    }

    private static func ticks(_ range: ClosedRange<Double>, step: Double) -> [Double] {
        let first = (range.lowerBound / step - 1e-9).rounded(.up)
        let last = (range.upperBound / step + 1e-9).rounded(.down)
        return stride(from: first, through: last, by: 1).map { $0 * step }
    }

    private func yTicks(_ panel: Panel) -> [Double] {
        let span = panel.y.upperBound - panel.y.lowerBound
        guard panel.isLogarithmic else {
            return Self.ticks(
                panel.y, step: panel.yStep ?? Self.step(span, maximum: panel.height / 40))
        }
        return [0.001, 0.01, 0.1, 1, 10, 100].flatMap { [$0, 2 * $0, 5 * $0] }.filter(
            panel.y.contains)
    }

    // MARK: Parts

    private func plot(_ panel: Panel, top: Double, isFirst: Bool, isLast: Bool) -> String {
        let bottom = top + panel.height, right = Self.width - Self.right
        var out = ""
        for value in yTicks(panel) {
            let at = place(y: value, panel, top: top)
            out += line(Self.left, at, right, at, Self.faint)
            out += text(Self.left - 8, at + 4, value.short(3), anchor: "end")
        }
        for value in Self.ticks(x, step: Self.step(x.upperBound - x.lowerBound, maximum: 14)) {
            let at = place(x: value)
            out += line(at, top, at, bottom, Self.faint)
            if isLast {
                out += line(at, bottom, at, bottom + 5, Self.axis)
                out += text(at, bottom + 20, value.short(3), anchor: "middle")
            }
        }
        out += marksDrawn(top: top, bottom: bottom, isFirst: isFirst)
        for series in panel.series.reversed() { out += drawn(series, panel, top: top) }
        out += line(Self.left, bottom, right, bottom, Self.axis)
        out += line(Self.left, top, Self.left, bottom, Self.axis)
        if !panel.title.isEmpty { out += text(Self.left, top - 8, panel.title, weight: "bold") }
        let middle = top + panel.height / 2
        out +=
            "<text x=\"20\" y=\"\(middle.short(1))\" text-anchor=\"middle\" transform=\"rotate(-90 20 "
            + "\(middle.short(1)))\">\(escaped(panel.yLabel))</text>\n"
        return out
    }

    private func marksDrawn(top: Double, bottom: Double, isFirst: Bool) -> String {
        var out = ""
        for mark in marks {
            let at = place(x: mark.x)
            out += line(at, top, at, bottom, "#444", dash: "4 3")
            if isFirst { out += text(at + 5, top + 14, mark.text, size: 12, color: "#444") }
        }
        return out
    }

    private func drawn(_ series: Series, _ panel: Panel, top: Double) -> String {
        func coordinates(_ points: [(x: Double, y: Double)]) -> String {
            points.map { p in
                "\(place(x: p.x).short(1)),\(place(y: p.y, panel, top: top).short(1))"
            }.joined(separator: " ")
        }
        let shown = series.points.indices.filter { x.contains(series.points[$0].x) }
        let points = shown.map { series.points[$0] }
        guard !points.isEmpty else { return "" }
        if series.style == .band {
            let under = shown.reversed().map { (x: series.points[$0].x, y: series.lower[$0]) }
            return "<polygon points=\"\(coordinates(points + under))\" fill=\"\(series.color)\" "
                + "stroke=\"\(series.color)\" stroke-width=\"0.5\"/>\n"
        }
        let dash = series.style == .dashed ? " stroke-dasharray=\"6 4\"" : ""
        var out =
            "<polyline points=\"\(coordinates(points))\" fill=\"none\" stroke=\"\(series.color)\" "
            + "stroke-width=\"2\" stroke-linejoin=\"round\"\(dash)/>\n"
        if series.style == .marked {
            for p in points {
                out +=
                    "<circle cx=\"\(place(x: p.x).short(1))\" cy=\""
                    + "\(place(y: p.y, panel, top: top).short(1))\" r=\"3.5\" fill=\"\(series.color)\"/>\n"
            }
        }
        return out
    }

    // MARK: Legend

    private var named: [Series] {
        var seen: [String] = [], list: [Series] = []
        for panel in panels {
            for series in panel.series where !series.isUnnamed && !seen.contains(series.name) {
                seen.append(series.name)
                list.append(series)
            }
        }
        return list
    }

    /// Rough: seven units a letter, and 44 for the sample and the space behind.
    private func width(of series: Series) -> Double { Double(series.name.count) * 7 + 44 }

    private var legendRows: [[Series]] {
        var rows: [[Series]] = [], used = 0.0
        for series in named {
            if rows.isEmpty || used + width(of: series) > Self.width - Self.left - Self.right {
                rows.append([])
                used = 0
            }
            rows[rows.count - 1].append(series)
            used += width(of: series)
        }
        return rows
    }

    private func legend(at top: Double) -> String {
        var out = ""
        for (i, row) in legendRows.enumerated() {
            var at = Self.left
            let middle = top + Self.legendHeight * Double(i) + 4
            for series in row {
                if series.style == .band {
                    out +=
                        "<rect x=\"\(at.short(1))\" y=\"\((middle - 5).short(1))\" "
                        + "width=\"22\" height=\"10\" fill=\"\(series.color)\"/>\n"
                } else {
                    out += line(
                        at, middle, at + 22, middle, series.color, width: 2.5,
                        dash: series.style == .dashed ? "6 4" : nil)
                }
                out += text(at + 28, middle + 4, series.name)
                at += width(of: series)
            }
        }
        return out
    }

    // MARK: Elements

    private func line(
        _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ color: String,
        width: Double = 1, dash: String? = nil
    ) -> String {
        "<line x1=\"\(x1.short(1))\" y1=\"\(y1.short(1))\" x2=\"\(x2.short(1))\" y2=\"\(y2.short(1))\" "
            + "stroke=\"\(color)\" stroke-width=\"\(width.short(1))\""
            + (dash.map { " stroke-dasharray=\"\($0)\"" } ?? "") + "/>\n"
    }

    private func text(
        _ x: Double, _ y: Double, _ words: String, size: Double = 13, color: String? = nil,
        weight: String? = nil, anchor: String? = nil
    ) -> String {
        var out = "<text x=\"\(x.short(1))\" y=\"\(y.short(1))\""
        if size != 13 { out += " font-size=\"\(size.short(1))\"" }
        if let color { out += " fill=\"\(color)\"" }
        if let weight { out += " font-weight=\"\(weight)\"" }
        if let anchor { out += " text-anchor=\"\(anchor)\"" }
        return out + ">\(escaped(words))</text>\n"
    }

    private func escaped(_ words: String) -> String {
        var out = ""
        for character in words {
            switch character {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            default: out.append(character)
            }
        }
        return out
    }
}
