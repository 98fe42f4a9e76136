// A plot of speed against recall, as an SVG document.
#pragma once

#include <string>
#include <vector>

namespace vecino::cli {

struct PlotPoint {
  double recall = 0;  // 0 to 1
  double qps = 0;     // above 0; others are left out
};

struct PlotCurve {
  std::string name;
  std::vector<PlotPoint> points;  // in any order
};

// Recall from left to right, queries a second upwards on a logarithmic axis; for each curve a line
// with a mark at each point, and its name in the legend. Texts may hold anything: what XML does not
// allow is escaped or replaced. Without points: the axes alone. Needs no font, script or file
// beside it.
std::string RecallPlotSvg(const std::string& title, const std::vector<PlotCurve>& curves);

}  // namespace vecino::cli
