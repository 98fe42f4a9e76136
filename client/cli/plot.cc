#include "client/cli/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

// Pixels: the picture, and the axes in it. The legend stands to the right of them.
constexpr double kWidth = 860, kHeight = 520;
constexpr double kLeft = 80, kRight = 690, kTop = 50, kBottom = 450;

// Okabe and Ito's colours, which people with any colour vision can tell apart.
constexpr std::array kColors{"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                             "#e69f00", "#56b4e9", "#000000"};

std::string Format(const char* format, double a, double b = 0, double c = 0, double d = 0) {
  std::array<char, 160> text{};
  std::snprintf(text.data(), text.size(), format, a, b, c, d);
  return text.data();
}

std::string Escape(const std::string& text) {
  std::string escaped;
  for (const char c : Printable(text)) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

struct Axes {
  double first_recall = 0.9;
  double first_log = 0, last_log = 3;  // log10 of queries a second

  double X(double recall) const {
    return kLeft + (recall - first_recall) / (1 - first_recall) * (kRight - kLeft);
  }
  double Y(double qps) const {
    return kBottom - (std::log10(qps) - first_log) / (last_log - first_log) * (kBottom - kTop);
  }
};

bool Drawable(const PlotPoint& point) {
  return std::isfinite(point.recall) && point.recall >= 0 && point.recall <= 1 &&
         std::isfinite(point.qps) && point.qps > 0;
}

// Recall from a twentieth below the worst point, queries a second in whole decades.
Axes AxesFor(const std::vector<PlotCurve>& curves) {
  double worst = 1, slowest = HUGE_VAL, fastest = 0;
  for (const PlotCurve& curve : curves) {
    for (const PlotPoint& point : curve.points) {
      if (!Drawable(point)) continue;
      worst = std::min(worst, point.recall);
      slowest = std::min(slowest, point.qps);
      fastest = std::max(fastest, point.qps);
    }
  }
  Axes axes;
  if (fastest == 0) return axes;
  axes.first_recall = std::clamp(std::floor(worst * 20) / 20, 0.0, 0.9);
  axes.first_log = std::floor(std::log10(slowest));
  axes.last_log = std::max(std::ceil(std::log10(fastest)), axes.first_log + 1);
  return axes;
}

std::string Label(double x, double y, const char* anchor, const std::string& text) {
  return Format("<text x=\"%.1f\" y=\"%.1f\" ", x, y) + "text-anchor=\"" + anchor + "\">" +
         Escape(text) + "</text>\n";
}

std::string GridLine(double x1, double y1, double x2, double y2) {
  return Format("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" ", x1, y1, x2, y2) +
         "stroke=\"#d8d8d8\"/>\n";
}

std::string Grid(const Axes& axes) {
  std::string svg;
  const double span = 1 - axes.first_recall;
  const double step = span > 0.5 ? 0.1 : span > 0.2 ? 0.05 : span > 0.1 ? 0.02 : 0.01;
  // From the right, so that 1 is always there.
  const int steps = static_cast<int>(std::floor(span / step + 1e-6));
  for (int i = 0; i <= steps; ++i) {
    const double recall = 1 - step * i;
    svg += GridLine(axes.X(recall), kTop, axes.X(recall), kBottom);
    svg += Label(axes.X(recall), kBottom + 20, "middle", Format("%.2f", recall));
  }
  for (double decade = axes.first_log; decade <= axes.last_log; ++decade) {
    for (const double digit : {1., 2., 5.}) {
      const double qps = digit * std::pow(10, decade);
      if (std::log10(qps) > axes.last_log + 1e-9) break;
      svg += GridLine(kLeft, axes.Y(qps), kRight, axes.Y(qps));
      svg += Label(kLeft - 8, axes.Y(qps) + 4, "end", Format("%.10g", qps));
    }
  }
  return svg;
}

std::string Line(const Axes& axes, const PlotCurve& curve, const char* color) {
  std::vector<PlotPoint> points;
  std::copy_if(curve.points.begin(), curve.points.end(), std::back_inserter(points), Drawable);
  std::sort(points.begin(), points.end(), [](const PlotPoint& a, const PlotPoint& b) {
    return a.recall != b.recall ? a.recall < b.recall : a.qps > b.qps;
  });
  std::string line, marks;
  for (const PlotPoint& point : points) {
    const double x = axes.X(point.recall), y = axes.Y(point.qps);
    line += (line.empty() ? "" : " ") + Format("%.1f,%.1f", x, y);
    marks += Format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" ", x, y) + "fill=\"" + color +
             "\"><title>" + Escape(curve.name) +
             Format(": recall %.4f, %.0f queries/s</title></circle>\n", point.recall, point.qps);
  }
  if (points.size() < 2) return marks;
  return "<polyline points=\"" + line + "\" fill=\"none\" stroke=\"" + color +
         "\" stroke-width=\"2\"/>\n" + marks;
}

}  // namespace

std::string RecallPlotSvg(const std::string& title, const std::vector<PlotCurve>& curves) {
  const Axes axes = AxesFor(curves);
  std::string svg =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" +
      Format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" ", kWidth,
             kHeight) +
      Format("viewBox=\"0 0 %.0f %.0f\" ", kWidth, kHeight) +
      "font-family=\"sans-serif\" font-size=\"13\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n";
  svg += Label((kLeft + kRight) / 2, kTop - 20, "middle", title);
  svg += Grid(axes);
  svg += Format("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" ", kLeft, kTop,
                kRight - kLeft, kBottom - kTop) +
         "fill=\"none\" stroke=\"#404040\"/>\n";
  svg += Label((kLeft + kRight) / 2, kBottom + 46, "middle", "recall");
  svg += Format("<g transform=\"translate(20 %.1f) rotate(-90)\">\n", (kTop + kBottom) / 2) +
         Label(0, 0, "middle", "queries a second, one client") + "</g>\n";
  for (size_t i = 0; i < curves.size(); ++i) {
    const char* color = kColors[i % kColors.size()];
    const double y = kTop + 14 + 24 * static_cast<double>(i);
    svg += Line(axes, curves[i], color);
    svg += Format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\" ", kRight + 24, y) + "fill=\"" + color +
           "\"/>\n" + Label(kRight + 38, y + 4, "start", curves[i].name);
  }
  return svg + "</svg>\n";
}

}  // namespace vecino::cli
