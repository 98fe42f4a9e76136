#include "server/index/graph.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/index/graph_links.h"

namespace vecino::index {
namespace {

constexpr std::string_view kFileType = "graph";
constexpr std::string_view kTableSection = "recall_table";  // RecallTable::Bytes

// Section "meta", little-endian as every section.
struct Meta {
  uint64_t rows;
  uint64_t seed;
  uint32_t m;
  uint32_t ef_construction;
  uint32_t entry;
  uint32_t levels;  // above the lowest
  uint32_t calibration_k;
  uint32_t calibration_queries;
  uint32_t calibration_points;
  uint32_t reserved;
};
static_assert(sizeof(Meta) == 48);

constexpr uint32_t kMaxM = 1 << 16;
constexpr uint32_t kMaxLevels = 64;

// Whether each link is below `limit` or kNone.
bool LinksAreBelow(const uint32_t* links, size_t n, uint32_t limit) {
  uint32_t largest = 0;
  for (size_t i = 0; i < n; ++i) largest = std::max(largest, links[i] + 1);  // kNone gives 0
  return largest <= limit;
}

absl::Status Damaged(const SegmentFile& file, std::string_view what) {
  return absl::DataLossError(absl::StrCat("graph file ", file.path(), ": ", std::string(what)));
}

// Looks that no walk can leave the arrays.
absl::Status Check(const SegmentFile& file, const GraphLinks& links) {
  for (size_t i = 0; i < links.level_nodes.size(); ++i) {
    const int64_t most = i == 0 ? links.rows : links.level_nodes[i - 1];
    if (links.level_nodes[i] < 1 || links.level_nodes[i] > most) {
      return Damaged(file, absl::StrCat("level ", i + 1, " has ", links.level_nodes[i],
                                        " rows, the one below ", most));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTargets(const SegmentFile& file, const GraphLinks& links) {
  const auto rows = static_cast<uint32_t>(links.rows);
  if (!LinksAreBelow(links.base, static_cast<size_t>(rows) * 2 * links.m, rows)) {
    return Damaged(file, absl::StrCat("a link leads beyond its ", rows, " rows"));
  }
  for (size_t i = 0; i < links.upper_nodes(); ++i) {
    if (links.upper_slots[i] >= rows) {
      return Damaged(file, absl::StrCat("number ", i, " is of row ", links.upper_slots[i],
                                        ", beyond its ", rows));
    }
  }
  const uint32_t* level = links.upper;
  for (const uint32_t nodes : links.level_nodes) {
    const size_t n = static_cast<size_t>(nodes) * links.m;
    if (!LinksAreBelow(level, n, nodes)) {
      return Damaged(file, absl::StrCat("a link leads beyond the ", nodes, " rows of its level"));
    }
    level += n;
  }
  if (links.entry >= rows || (links.upper_nodes() > 0 && links.entry != links.upper_slots[0])) {
    return Damaged(file, absl::StrCat("row ", links.entry, " cannot be where walks begin"));
  }
  return absl::OkStatus();
}

// Points the links at the sections of data->file.
absl::Status MapLinks(const Meta& meta, GraphData* data) {
  const SegmentFile& file = *data->file;
  GraphLinks& links = data->links;
  links.rows = static_cast<int64_t>(meta.rows);
  links.m = static_cast<int>(meta.m);
  links.entry = meta.entry;
  const auto levels = file.Array<uint32_t>("levels", meta.levels);
  if (!levels.ok()) return levels.status();
  links.level_nodes.assign(*levels, *levels + meta.levels);
  if (absl::Status status = Check(file, links); !status.ok()) return status;

  const auto base = file.Array<uint32_t>("base", meta.rows * 2 * meta.m);
  if (!base.ok()) return base.status();
  const auto slots = file.Array<uint32_t>("upper_slots", links.upper_nodes());
  if (!slots.ok()) return slots.status();
  const auto upper = file.Array<uint32_t>("upper", links.upper_links());
  if (!upper.ok()) return upper.status();
  links.base = *base;
  links.upper_slots = *slots;
  links.upper = *upper;
  return absl::OkStatus();
}

}  // namespace

Graph::Graph(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Graph::~Graph() = default;

absl::Status Graph::Save(const std::string& path) {
  const GraphLinks& links = impl_->data.links;
  const Calibration& calibration = impl_->calibration;
  const Meta meta = {.rows = static_cast<uint64_t>(links.rows),
                     .seed = impl_->options.seed,
                     .m = static_cast<uint32_t>(links.m),
                     .ef_construction = static_cast<uint32_t>(impl_->options.ef_construction),
                     .entry = links.entry,
                     .levels = static_cast<uint32_t>(links.level_nodes.size()),
                     .calibration_k = static_cast<uint32_t>(calibration.k),
                     .calibration_queries = static_cast<uint32_t>(calibration.queries),
                     .calibration_points = static_cast<uint32_t>(calibration.points.size()),
                     .reserved = 0};
  static_assert(sizeof(Calibration::Point) == 8);
  SegmentFileWriter writer(path, kFileType);
  const auto add = [&](std::string_view name, const auto* data, size_t n) {
    return writer.AddSection(name, data, n * sizeof(*data));
  };
  absl::Status status = add("meta", &meta, 1);
  status.Update(add("levels", links.level_nodes.data(), links.level_nodes.size()));
  status.Update(add("base", links.base, static_cast<size_t>(links.rows) * 2 * links.m));
  status.Update(add("upper_slots", links.upper_slots, links.upper_nodes()));
  status.Update(add("upper", links.upper, links.upper_links()));
  status.Update(add("calibration", calibration.points.data(), calibration.points.size()));
  if (const std::vector<uint8_t> table = calibration.table.Bytes(); !table.empty()) {
    status.Update(add(kTableSection, table.data(), table.size()));
  }
  if (!status.ok()) return status;
  auto file = writer.Commit();
  if (!file.ok()) return file.status();

  GraphData mapped;
  mapped.file = *std::move(file);
  if (absl::Status mapping = MapLinks(meta, &mapped); !mapping.ok()) return mapping;
  mapped.file->AdviseRandom("base");
  impl_->data = std::move(mapped);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Graph>> Graph::Load(const std::string& path, int64_t rows,
                                                         SegmentFile::Verify verify) {
  auto file = SegmentFile::Open(path, kFileType, verify);
  if (!file.ok()) return file.status();
  const auto read = (*file)->Array<Meta>("meta", 1);
  if (!read.ok()) return read.status();
  const Meta& meta = **read;
  if (rows < 1 || meta.rows != static_cast<uint64_t>(rows)) {
    return Damaged(**file, absl::StrCat("it is over ", meta.rows, " rows, its segment has ", rows));
  }
  if (meta.m < 1 || meta.m > kMaxM || meta.levels > kMaxLevels) {
    return Damaged(**file,
                   absl::StrCat("m ", meta.m, ", ", meta.levels, " levels cannot be right"));
  }
  const auto points = (*file)->Array<Calibration::Point>("calibration", meta.calibration_points);
  if (!points.ok()) return points.status();

  auto impl = std::make_unique<Impl>();
  impl->options.m = static_cast<int>(meta.m);
  impl->options.ef_construction = static_cast<int>(meta.ef_construction);
  impl->options.seed = meta.seed;
  impl->calibration.k = static_cast<int>(meta.calibration_k);
  impl->calibration.queries = static_cast<int>(meta.calibration_queries);
  impl->calibration.points.assign(*points, *points + meta.calibration_points);
  if (const auto table = (*file)->Section(kTableSection); table.ok()) {
    auto of_file =
        RecallTable::FromBytes(reinterpret_cast<const uint8_t*>(table->data()), table->size());
    if (of_file.ok()) impl->calibration.table = *std::move(of_file);  // else the points do
  }
  impl->data.file = *std::move(file);
  if (absl::Status status = MapLinks(meta, &impl->data); !status.ok()) return status;
  absl::Status status = CheckTargets(*impl->data.file, impl->data.links);
  if (!status.ok()) return status;
  impl->data.file->AdviseRandom("base");  // after it was read front to back
  return std::shared_ptr<const Graph>(new Graph(std::move(impl)));
}

int64_t Graph::rows() const { return impl_->data.links.rows; }
const Graph::Options& Graph::options() const { return impl_->options; }
int64_t Graph::bytes() const { return static_cast<int64_t>(impl_->data.links.bytes()); }
std::shared_ptr<const SegmentFile> Graph::file() const { return impl_->data.file; }
const Calibration& Graph::calibration() const { return impl_->calibration; }
void Graph::SetCalibration(Calibration calibration) { impl_->calibration = std::move(calibration); }

int Graph::EfFor(double recall, int k, const RecallTable* tuned, int part) const {
  constexpr int kFallback = 96;  // .99 on real embeddings, when nothing was measured
  const Calibration& calibration = impl_->calibration;
  if (part <= 0 || part > k) part = k;
  if (const RecallTable& table = tuned != nullptr ? *tuned : calibration.table; !table.empty()) {
    const auto of = static_cast<double>(rows());
    const double ef = table.ForPart(RecallTable::How::kCodes, recall, part, k, 1, of).breadth;
    // A search that broad compares all rows.
    if (ef == 0) return static_cast<int>(std::min<int64_t>(rows(), INT32_MAX));
    return std::max(k, static_cast<int>(std::ceil(ef)));
  }
  const int measured_k = std::max(calibration.k, 1);
  const int ef = calibration.BreadthFor(recall, kFallback);
  if (part <= measured_k) return std::max(k, ef);
  // The list must hold the k rows themselves; what it holds beyond them grows more slowly.
  const double spare = std::max(ef - measured_k, 0) * std::sqrt(double{1} * part / measured_k);
  return std::max({k, ef, static_cast<int>(std::ceil(part + spare))});
}

double Graph::RecallOf(int ef, int k, const RecallTable* tuned) const {
  const RecallTable& table = tuned != nullptr ? *tuned : impl_->calibration.table;
  return table.RecallOf(RecallTable::How::kCodes, std::max(ef, k), k, 1);
}

}  // namespace vecino::index
