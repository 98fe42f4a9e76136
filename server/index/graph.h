// A navigable graph over the rows of one IvfSegment: links from FAISS's HNSW, searched by us over
// 8-bit rows.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/index/generation.h"
#include "server/index/int8_rows.h"
#include "server/index/kmeans.h"
#include "server/index/labels.h"
#include "server/index/search_params.h"
#include "server/index/segment_file.h"
#include "server/index/tombstones.h"
#include "server/index/top_k.h"

namespace vecino::index {

class IvfSegment;

// The rows a graph is over; they outlive every call they are given to. Slots are the nodes.
struct GraphRows {
  Int8Rows rounded;
  const float* vectors = nullptr;  // row-major, rounded.d floats a row
  Labels labels;                   // one a row
  int64_t rows = 0;
};

// What a search did, for explanations and tests.
struct GraphWork {
  int ef = 0;             // of the last walk
  int walks = 0;          // 0: none was worth while; more than 1: too few live rows were found
  bool scanned = false;   // all live rows were compared
  int64_t expanded = 0;   // rows whose links were followed on the lowest level
  int64_t distances = 0;  // of 8-bit rows
  int64_t scored = 0;     // by floats
};

// Immutable; all const methods are safe from any thread. File type "graph".
class Graph {
 public:
  struct Options {
    int m = 32;  // 2 to 256: links a node above the lowest level; twice as many there
    // At least 1. 100 instead of 40: 25% fewer distances for a recall of .99, 1.6 times the time.
    int ef_construction = 100;
    uint64_t seed = 1234;
  };

  // Rows that are inserted last, and what measures searches for them while they are new.
  struct Rehearsal {
    absl::Span<const uint32_t> rows;  // ascending, none twice
    // Is called once, of a graph that lacks `missing`: those rows and the ones that round to the
    // same 8 bits, where these are kMostTwins at most; a query for one of many equal rows tells of
    // these only. What it returns becomes the graph's calibration; an error ends the build. Not
    // called when none is missing, or more than half of all.
    static constexpr size_t kMostTwins = 15;
    absl::FunctionRef<absl::StatusOr<Calibration>(const Graph* graph, const Tombstones& missing)>
        measure;
  };

  // Inserts the rows one by one with faiss::HNSW::add_with_locks, over distances of the 8-bit rows;
  // the same rows, options and rehearsal give the same links. Runs on the calling thread, minutes
  // for a million rows; the checkpoint is called every few rows. rows < 2^30. Takes 8 · m bytes a
  // row, and about 25 more while it works. rehearsal: null for none. INVALID_ARGUMENT,
  // RESOURCE_EXHAUSTED, the error of checkpoint or rehearsal.
  static absl::StatusOr<std::shared_ptr<Graph>> Build(const GraphRows& rows, const Options& options,
                                                      Checkpoint checkpoint,
                                                      const Rehearsal* rehearsal = nullptr);
  // Writes links and calibration, then maps them from there. Before the graph is shared only.
  absl::Status Save(const std::string& path);
  // rows: of the segment. DATA_LOSS when the file is damaged, is of another number of rows or links
  // to rows that are not there; SegmentFile::Open's errors. Reads all links.
  static absl::StatusOr<std::shared_ptr<const Graph>> Load(const std::string& path, int64_t rows,
                                                           SegmentFile::Verify verify);

  int64_t rows() const;
  const Options& options() const;
  int64_t bytes() const;                            // of links, in memory or mapped
  std::shared_ptr<const SegmentFile> file() const;  // null before Save

  const Calibration& calibration() const;
  void SetCalibration(Calibration calibration);  // before the graph is shared and saved
  // The breadth that is expected to find `recall` of the best k: the greatest that was measured
  // where none does. tuned: in the place of its own table; null: none.
  // part: of these k as many as an answer is expected to take (SearchParams::aim_k); 0: all.
  int EfFor(double recall, int k, const RecallTable* tuned = nullptr, int part = 0) const;
  // What a search for the best k with this breadth is expected to find; 0 when nothing was
  // measured.
  double RecallOf(int ef, int k, const RecallTable* tuned = nullptr) const;

  // Walks the graph with a list of the `ef` best live rows (at least params.k), then scores the
  // best of these by floats and pushes them. ef: 0 takes EfFor(params.recall_target,
  // params.k, tuned, params.AimedAt()).
  // Rows that are dead or not allowed are walked through but never pushed. Where a walk would cost
  // more than comparing the live rows' 8 bits, these are compared; so min(k, live rows) are pushed,
  // always. Scratch memory (1 bit a row and less) is kept per thread. RESOURCE_EXHAUSTED.
  absl::Status Search(const GraphRows& rows, const float* query, const SearchParams& params,
                      const Tombstones& dead, const uint64_t* allowed, TopK* top,
                      GraphWork* work = nullptr, const RecallTable* tuned = nullptr) const;

 private:
  struct Impl;
  explicit Graph(std::unique_ptr<Impl> impl);

 public:
  ~Graph();

 private:
  std::unique_ptr<Impl> impl_;
};

// Searches for rows that the graph lacks (Rehearsal) at breadths from 10 to 512, and measures how
// many of the best live rows are found: of the best k for the points, of the best 1, 10 and 100 for
// the table (all live rows where they are fewer). sample: row numbers, all of them dead. Ties count
// as found. Takes seconds on the calling thread; the checkpoint is called every few searches.
// INVALID_ARGUMENT, RESOURCE_EXHAUSTED, the checkpoint's error.
absl::StatusOr<Calibration> CalibrateGraph(const Graph& graph, const GraphRows& rows,
                                           const Tombstones& dead,
                                           const std::vector<uint32_t>& sample, int k,
                                           Checkpoint checkpoint);

// A graph over the segment's rows with a calibration of its ef. The queries are rows that it has
// not when it is calibrated, a sixteenth of all at most, nor their near copies (near_copies.h);
// then all are inserted. Errors are those of Graph::Build and the checkpoint.
absl::StatusOr<std::shared_ptr<Graph>> BuildGraph(const IvfSegment& segment,
                                                  const Graph::Options& options, int queries,
                                                  uint64_t seed, Checkpoint checkpoint);

}  // namespace vecino::index
