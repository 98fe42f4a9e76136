// Counts what a process does to its index files and its store, and ends it with SIGKILL at a chosen
// one.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

namespace vecino::engine {

// Steps are numbered: calls on files of each kind (generation, segment, graph, fields), calls on
// folders, writes of the store.
enum FileKind { kGeneration, kSegment, kGraph };
enum FileCall { kOpen, kWrite, kSync, kRename, kRemove };
inline constexpr int kFileKinds = 4;
inline constexpr int kFileCalls = 5;
enum OtherStep {
  kMakeFolder = kFileKinds * kFileCalls,
  kSyncFolder,
  kRemoveFolder,
  kAppend,
  kPutManifest,
  kTrimChanges,
  kAddCollection,
  kDropCollection,
  kTraining,  // from here on: the beginning of a retrain's stage, and each of its pauses
  kEncoding,
  kCatchingUp,
  kCalibrating,
  kValidating,
  kPublished,
  kRejected,  // instead of kPublished, where a build is spoiled
  kSteps
};
inline constexpr int kFirstStage = kTraining;
// -1: none of these.
int StepOfStage(std::string_view stage);
std::string StepName(int step);  // "rename segment", "PutManifest"

enum class Moment { kBefore, kHalf, kAfter };  // kHalf: half of the bytes are written

// The number-th time (from 1) that `step` is done.
struct KillPoint {
  int step = -1;  // none
  int number = 0;
  Moment moment = Moment::kBefore;
};
std::string Describe(const KillPoint& point);

// Lies in memory that the parent process shares.
struct StepCounts {
  std::atomic<int> steps[kSteps];
  std::atomic<bool> killed;  // at the point that was asked for
};

// From now on counts steps, those on files only beneath `root`, and dies at `point`. Once in a
// process.
void Watch(const std::string& root, StepCounts* counts, const KillPoint& point);

// One step: counts it and dies when it is made or when After is called, if that was asked for.
class WatchedStep {
 public:
  explicit WatchedStep(int step);  // below 0: of no interest
  void After() const;
  bool dies_half_way() const { return IsPoint(Moment::kHalf); }
  [[noreturn]] static void Die();

 private:
  bool IsPoint(Moment moment) const;

  const int step_;
  int number_ = 0;
};

}  // namespace vecino::engine
