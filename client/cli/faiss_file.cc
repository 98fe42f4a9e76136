#include "client/cli/faiss_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

static_assert(std::endian::native == std::endian::little);  // as FAISS writes on such machines

constexpr int kMostDimensions = 1'000'000;  // far above the contract's limit
constexpr int kDeepest = 8;                 // indexes in indexes
constexpr int64_t kBlock = 64 << 10;        // values read at a time

// A record's name, as its four bytes stand in the file.
constexpr uint32_t Name(const char (&text)[5]) {
  return static_cast<uint32_t>(text[0]) | static_cast<uint32_t>(text[1]) << 8 |
         static_cast<uint32_t>(text[2]) << 16 | static_cast<uint32_t>(text[3]) << 24;
}
std::string TextOf(uint32_t name) {
  return Printable(std::string(reinterpret_cast<const char*>(&name), sizeof(name)));
}

bool ReadFully(int fd, int64_t offset, void* data, int64_t count) {
  auto* out = static_cast<char*>(data);
  while (count > 0) {
    const ssize_t got = pread(fd, out, static_cast<size_t>(count), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    out += got;
    offset += got;
    count -= got;
  }
  return true;
}

Status Bad(const std::string& what) { return Status(Code::kInvalidArgument, what); }

// Why an index whose record has this name cannot be read.
Status Unfit(uint32_t name) {
  struct Known {
    uint32_t name;
    const char* index;
  };
  static constexpr Known kKnown[] = {
      {Name("IxPq"), "IndexPQ"},
      {Name("IxPo"), "IndexPQ"},
      {Name("IxSQ"), "IndexScalarQuantizer"},
      {Name("IxHe"), "IndexLSH"},
      {Name("IxHE"), "IndexLSH"},
      {Name("IxPT"), "IndexPreTransform"},
      {Name("IwPQ"), "IndexIVFPQ"},
      {Name("IvPQ"), "IndexIVFPQ"},
      {Name("IwQR"), "IndexIVFPQR"},
      {Name("IwSq"), "IndexIVFScalarQuantizer"},
      {Name("IwSQ"), "IndexIVFScalarQuantizer"},
      {Name("IwPf"), "IndexIVFPQFastScan"},
      {Name("IPfs"), "IndexPQFastScan"},
      {Name("IHNp"), "IndexHNSWPQ"},
      {Name("IHNs"), "IndexHNSWSQ"},
      {Name("IHN2"), "IndexHNSW2Level"},
      {Name("INSf"), "IndexNSGFlat"},
      {Name("Ix2L"), "Index2Layer"},
      {Name("IxRq"), "IndexResidualQuantizer"},
  };
  const auto* known = std::find_if(std::begin(kKnown), std::end(kKnown),
                                   [&](const Known& entry) { return entry.name == name; });
  const std::string index =
      known != std::end(kKnown) ? known->index : "an index of the kind \"" + TextOf(name) + "\"";
  return Bad(
      "holds " + index +
      ", from which vectors cannot be read as they were added. What can be read is "
      "IndexFlat, IndexIVFFlat and IndexHNSWFlat, also in an IndexIDMap, and any index in an "
      "IndexRefineFlat");
}

}  // namespace

// Walks through a file's records. Every length is held against what is left of the file before it
// is believed.
class FaissParser {
 public:
  explicit FaissParser(FaissFile* file) : file_(*file), end_(file->size_) {}

  Status Parse() {
    Status status = ParseIndex(file_.size_, 0);
    if (!status.ok()) return status;
    if (failed_) return CutShort();
    file_.rows_ = found_.rows;
    file_.dimension_ = found_.dimension;
    file_.first_ = found_.first;
    file_.places_ = std::move(found_.places);
    return SortPlaces();
  }

 private:
  using Place = FaissFile::Place;
  // Of every index.
  struct Header {
    int32_t dimension = 0;
    int64_t rows = 0;
    int32_t metric = 0;
  };
  // The vectors of the index that was parsed last.
  struct Found {
    int64_t rows = 0;
    int dimension = 0;
    int64_t first = 0;
    std::vector<Place> places;  // empty: ids are 0, 1, …
  };

  int64_t left() const { return end_ - at_; }
  Status CutShort() const {
    return Bad("is cut short or damaged: what is missing should stand at byte " +
               std::to_string(at_) + " of " + std::to_string(file_.size_));
  }

  // The next value; 0 once the file is too short.
  template <class T>
  T Get() {
    T value{};
    if (failed_ || left() < static_cast<int64_t>(sizeof(T)) ||
        !ReadFully(file_.fd_, at_, &value, sizeof(T))) {
      failed_ = true;
      return T{};
    }
    at_ += sizeof(T);
    return value;
  }
  // The length of a vector of items that then stand there; 0 once the file is too short.
  int64_t GetCount(int64_t item_bytes) {
    const auto count = Get<uint64_t>();
    if (failed_ || count > static_cast<uint64_t>(left() / item_bytes)) {
      failed_ = true;
      return 0;
    }
    return static_cast<int64_t>(count);
  }
  void Skip(int64_t bytes) {
    if (failed_ || bytes > left()) {
      failed_ = true;
    } else {
      at_ += bytes;
    }
  }
  void SkipVector(int64_t item_bytes) { Skip(GetCount(item_bytes) * item_bytes); }

  Status GetHeader(Header* header) {
    header->dimension = Get<int32_t>();
    header->rows = Get<int64_t>();
    Skip(2 * 8 + 1);  // two values not in use, and whether it is trained
    header->metric = Get<int32_t>();
    if (header->metric > 1) Skip(4);  // the metric's argument
    if (failed_) return CutShort();
    if (header->dimension < 1 || header->dimension > kMostDimensions || header->rows < 0 ||
        header->metric < 0) {
      return Bad("is damaged: an index of " + std::to_string(header->rows) + " rows of " +
                 std::to_string(header->dimension) + " floats, metric " +
                 std::to_string(header->metric));
    }
    return Status();
  }
  static int64_t HeaderBytes(const Header& header) {
    return 4 + 8 + 2 * 8 + 1 + 4 + (header.metric > 1 ? 4 : 0);
  }

  // The index at at_. index_end: where it ends, or −1 when that is not known.
  Status ParseIndex(int64_t index_end, int depth) {
    if (depth > kDeepest) return Bad("is damaged: its indexes are nested too deeply");
    const auto name = Get<uint32_t>();
    if (failed_) return CutShort();
    switch (name) {
      case Name("IxFI"):
      case Name("IxF2"):
      case Name("IxFl"):
        return ParseFlat();
      case Name("IxMp"):
      case Name("IxM2"):
        return ParseIdMap(index_end, depth);
      case Name("IxRF"):
        return ParseRefine(index_end);
      case Name("IHNf"):
        return ParseHnsw(index_end, depth);
      case Name("IwFl"):
        return ParseIvf(depth);
      default:
        if (depth == 0 && TextOf(name).substr(0, 1) != "I") return Bad("is no FAISS index file");
        return Unfit(name);
    }
  }

  Status ParseFlat() {
    Header header;
    if (Status status = GetHeader(&header); !status.ok()) return status;
    const int64_t values = GetCount(sizeof(float));
    if (failed_) return CutShort();
    if (header.rows != values / header.dimension || values % header.dimension != 0) {
      return Bad("is damaged: " + std::to_string(values) + " floats for " +
                 std::to_string(header.rows) + " rows of " + std::to_string(header.dimension));
    }
    found_ = {.rows = header.rows, .dimension = header.dimension, .first = at_, .places = {}};
    Skip(values * static_cast<int64_t>(sizeof(float)));
    return Status();
  }

  Status ParseIdMap(int64_t index_end, int depth) {
    Header header;
    if (Status status = GetHeader(&header); !status.ok()) return status;
    // After the inner index come the ids.
    int64_t inner_end = -1;
    if (index_end >= 0) {
      if (header.rows > (index_end - at_) / 8) return CutShort();
      inner_end = index_end - 8 - 8 * header.rows;
    }
    if (Status status = ParseIndex(inner_end, depth + 1); !status.ok()) return status;
    const int64_t count = GetCount(sizeof(int64_t));
    if (failed_) return CutShort();
    if (count != found_.rows || header.dimension != found_.dimension) {
      return Bad("is damaged: " + std::to_string(count) + " ids for " +
                 std::to_string(found_.rows) + " rows");
    }
    const int64_t ids_at = at_;
    Skip(count * static_cast<int64_t>(sizeof(int64_t)));
    if (failed_) return CutShort();
    MakePlaces();
    // By inner ids, one block of outer ids after the other.
    std::sort(found_.places.begin(), found_.places.end(),
              [](const Place& a, const Place& b) { return a.id < b.id; });
    std::vector<int64_t> outer;
    for (int64_t row = 0; row < count; ++row) {
      if (found_.places[row].id != row) return Bad("is damaged: its inner ids do not count up");
      if (row % kBlock == 0) {
        outer.resize(static_cast<size_t>(std::min(kBlock, count - row)));
        if (!ReadFully(file_.fd_, ids_at + row * 8, outer.data(),
                       static_cast<int64_t>(outer.size()) * 8)) {
          return CutShort();
        }
      }
      found_.places[row].id = outer[row % kBlock];
    }
    return Status();
  }

  // The inner index may be of any kind, so the flat one behind it is found from the end.
  Status ParseRefine(int64_t index_end) {
    Header header;
    if (Status status = GetHeader(&header); !status.ok()) return status;
    if (index_end < 0) return Unfit(Name("IxRF"));
    const int64_t row_bytes = header.dimension * static_cast<int64_t>(sizeof(float));
    const int64_t around = 4 + HeaderBytes(header) + 8;  // of the flat index
    if (header.rows > (index_end - at_) / row_bytes) return CutShort();
    const int64_t start = index_end - 4 - header.rows * row_bytes - around;
    if (start < at_) return CutShort();
    at_ = start;
    const auto name = Get<uint32_t>();
    if (name != Name("IxFI") && name != Name("IxF2") && name != Name("IxFl")) {
      return Bad(
          "is cut short, or an index whose candidates are rescored by something other than full "
          "vectors, so that these cannot be read");
    }
    if (Status status = ParseFlat(); !status.ok()) return status;
    if (found_.rows != header.rows || found_.dimension != header.dimension) {
      return Bad("is damaged: the vectors of its IndexRefineFlat are not its own");
    }
    Skip(4);  // k_factor
    return failed_ ? CutShort() : Status();
  }

  Status ParseHnsw(int64_t index_end, int depth) {
    Header header;
    if (Status status = GetHeader(&header); !status.ok()) return status;
    SkipVector(8);  // probabilities of levels
    SkipVector(4);  // links up to each level
    SkipVector(4);  // levels
    SkipVector(8);  // where each row's links begin
    SkipVector(4);  // links
    Skip(5 * 4);    // entry point, highest level, efConstruction, efSearch, and one not in use
    if (Status status = ParseIndex(index_end, depth + 1); !status.ok()) return status;
    if (found_.rows != header.rows || found_.dimension != header.dimension) {
      return Bad("is damaged: a graph of " + std::to_string(header.rows) + " rows over " +
                 std::to_string(found_.rows));
    }
    return Status();
  }

  Status ParseIvf(int depth) {
    Header header;
    if (Status status = GetHeader(&header); !status.ok()) return status;
    const auto nlist = Get<uint64_t>();
    Skip(8);  // nprobe
    if (Status status = ParseIndex(-1, depth + 1); !status.ok()) {
      return Bad(status.message() + " (it is the quantizer of an IndexIVFFlat)");
    }
    const auto map = Get<char>();
    SkipVector(8);
    if (map == 2) SkipVector(16);
    const auto lists = Get<uint32_t>();
    if (failed_) return CutShort();
    if (lists != Name("ilar")) {
      return Bad("keeps its lists elsewhere or in another form (\"" + TextOf(lists) +
                 "\"); only lists in the file itself can be read");
    }
    const auto list_count = Get<uint64_t>();
    const auto code_size = Get<uint64_t>();
    const auto form = Get<uint32_t>();
    const int64_t row_bytes = header.dimension * static_cast<int64_t>(sizeof(float));
    if (failed_) return CutShort();
    const bool sparse = form == Name("sprs");
    if (list_count != nlist || code_size != static_cast<uint64_t>(row_bytes) ||
        (!sparse && form != Name("full"))) {
      return Bad("is damaged: " + std::to_string(list_count) + " lists of rows of " +
                 std::to_string(code_size) + " bytes in an index of " + std::to_string(nlist));
    }
    const int64_t sizes = GetCount(sizeof(uint64_t));
    if (failed_) return CutShort();
    if (sparse ? sizes % 2 != 0 : static_cast<uint64_t>(sizes) != list_count) {
      return Bad("is damaged: the sizes of its lists do not fit their number");
    }
    const int64_t sizes_at = at_;
    Skip(sizes * static_cast<int64_t>(sizeof(uint64_t)));
    if (failed_ || header.rows > left() / (row_bytes + 8)) return CutShort();
    found_ = {.rows = header.rows, .dimension = header.dimension, .first = 0, .places = {}};
    found_.places.reserve(static_cast<size_t>(header.rows));
    std::vector<int64_t> ids;
    for (int64_t i = sparse ? 1 : 0; i < sizes; i += sparse ? 2 : 1) {
      uint64_t size = 0;
      if (!ReadFully(file_.fd_, sizes_at + i * 8, &size, sizeof(size)) ||
          size > static_cast<uint64_t>(left() / (row_bytes + 8))) {
        return CutShort();
      }
      const auto rows = static_cast<int64_t>(size);
      const int64_t vectors_at = at_;
      ids.resize(size);
      if (!ReadFully(file_.fd_, at_ + rows * row_bytes, ids.data(), rows * 8)) return CutShort();
      Skip(rows * (row_bytes + 8));
      if (static_cast<int64_t>(found_.places.size()) + rows > header.rows) break;
      for (int64_t row = 0; row < rows; ++row) {
        found_.places.push_back({.id = ids[row], .offset = vectors_at + row * row_bytes});
      }
    }
    if (static_cast<int64_t>(found_.places.size()) != header.rows) {
      return Bad("is damaged: its lists do not have " + std::to_string(header.rows) +
                 " rows together");
    }
    return Status();
  }

  void MakePlaces() {
    if (!found_.places.empty()) return;
    const int64_t row_bytes = found_.dimension * static_cast<int64_t>(sizeof(float));
    found_.places.reserve(static_cast<size_t>(found_.rows));
    for (int64_t row = 0; row < found_.rows; ++row) {
      found_.places.push_back({.id = row, .offset = found_.first + row * row_bytes});
    }
  }

  Status SortPlaces() {
    std::vector<Place>& places = file_.places_;
    std::sort(places.begin(), places.end(),
              [](const Place& a, const Place& b) { return a.id < b.id; });
    const auto twice = std::adjacent_find(
        places.begin(), places.end(), [](const Place& a, const Place& b) { return a.id == b.id; });
    if (twice == places.end()) return Status();
    return Bad("has the id " + std::to_string(twice->id) + " twice");
  }

  FaissFile& file_;
  const int64_t end_;
  int64_t at_ = 0;
  bool failed_ = false;  // the file is too short
  Found found_;
};

Result<std::unique_ptr<FaissFile>> FaissFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Bad("cannot be opened: " + std::string(std::strerror(errno)));
  struct stat info {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return Bad("is not a regular file");
  }
  std::unique_ptr<FaissFile> file(new FaissFile(fd, info.st_size));
  if (Status status = FaissParser(file.get()).Parse(); !status.ok()) return status;
  return file;
}

FaissFile::~FaissFile() { close(fd_); }

Status FaissFile::Read(int64_t row, std::vector<float>* vector) const {
  const int64_t row_bytes = dimension_ * static_cast<int64_t>(sizeof(float));
  const int64_t offset = places_.empty() ? first_ + row * row_bytes : places_[row].offset;
  vector->resize(static_cast<size_t>(dimension_));
  if (ReadFully(fd_, offset, vector->data(), row_bytes)) return Status();
  return Bad("row " + std::to_string(row) + " of " + std::to_string(rows_) + " cannot be read");
}

}  // namespace vecino::cli
