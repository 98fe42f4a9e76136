#include "tests/server/engine/engine_kill_calls.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdarg>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace vecino::engine {
namespace {

constexpr std::array<const char*, kFileKinds> kFileNames = {"generation", "segment", "graph",
                                                            "fields"};
constexpr std::array<const char*, kFileCalls> kCallNames = {"open", "write", "fsync", "rename",
                                                            "remove"};
constexpr std::array<const char*, kSteps - kMakeFolder> kOtherNames = {
    "mkdir",       "fsync folder",  "remove folder",  "Append",    "PutManifest",
    "TrimChanges", "AddCollection", "DropCollection", "training",  "encoding",
    "catching up", "calibrating",   "validating",     "published", "rejected"};

std::string root;  // ends with a slash
StepCounts* counts = nullptr;
KillPoint point;

// By file descriptor: 1 + kind of the file; kFolder; 0: of no interest.
constexpr int kDescriptors = 4096;
constexpr char kFolder = 100;
std::array<std::atomic<char>, kDescriptors> descriptors;

bool IsBeneathRoot(std::string_view path) {
  return counts != nullptr &&
         (path.starts_with(root) || path == std::string_view(root).substr(0, root.size() - 1));
}

// -1 when it is none of the shard's files.
int KindOf(std::string_view path) {
  if (!IsBeneathRoot(path)) return -1;
  const std::string_view name = path.substr(path.rfind('/') + 1);
  for (int kind = 0; kind < kFileKinds; ++kind) {
    if (name.starts_with(kFileNames[static_cast<size_t>(kind)])) return kind;
  }
  return -1;
}

int StepOf(std::string_view path, FileCall call) {
  const int kind = KindOf(path);
  return kind < 0 ? -1 : kind * kFileCalls + call;
}

int StepOfRemoval(std::string_view path) {
  if (!IsBeneathRoot(path)) return -1;
  const int step = StepOf(path, kRemove);
  return step < 0 ? static_cast<int>(kRemoveFolder) : step;
}

int StepOf(int fd, FileCall call) {
  if (counts == nullptr || fd < 0 || fd >= kDescriptors) return -1;
  const char kind = descriptors[static_cast<size_t>(fd)].load();
  if (kind == 0) return -1;
  if (kind != kFolder) return (kind - 1) * kFileCalls + call;
  return call == kSync ? static_cast<int>(kSyncFolder) : -1;
}

int RemoveAt(int folder, const char* path, int flags) {
  std::string full = path;
  if (counts != nullptr && folder != AT_FDCWD && path[0] != '/') {
    char link[64], target[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    const ssize_t n = readlink(link, target, sizeof target);
    full = absl::StrCat(absl::string_view(target, n < 0 ? 0 : static_cast<size_t>(n)), "/", path);
  }
  const WatchedStep step(StepOfRemoval(full));
  const auto result = static_cast<int>(syscall(SYS_unlinkat, folder, path, flags));
  step.After();
  return result;
}

}  // namespace

std::string StepName(int step) {
  if (step >= kMakeFolder) return kOtherNames[static_cast<size_t>(step - kMakeFolder)];
  return absl::StrCat(kCallNames[static_cast<size_t>(step % kFileCalls)], " ",
                      kFileNames[static_cast<size_t>(step / kFileCalls)]);
}

int StepOfStage(std::string_view stage) {
  for (int step = kFirstStage; step < kSteps; ++step) {
    if (stage == kOtherNames[static_cast<size_t>(step - kMakeFolder)]) return step;
  }
  return -1;
}

std::string Describe(const KillPoint& killed) {
  if (killed.step < 0) return "no kill";
  const char* const moments[] = {"before", "half way through", "after"};
  return absl::StrCat("kill ", moments[static_cast<int>(killed.moment)], " `",
                      StepName(killed.step), "` number ", killed.number);
}

void Watch(const std::string& folder, StepCounts* shared, const KillPoint& killed) {
  root = folder + "/";
  point = killed;
  counts = shared;
}

WatchedStep::WatchedStep(int step) : step_(step) {
  if (step_ < 0 || counts == nullptr) return;
  number_ = ++counts->steps[step_];
  if (IsPoint(Moment::kBefore)) Die();
}

void WatchedStep::After() const {
  if (IsPoint(Moment::kAfter)) Die();
}

bool WatchedStep::IsPoint(Moment moment) const {
  return step_ >= 0 && step_ == point.step && number_ == point.number && moment == point.moment;
}

void WatchedStep::Die() {
  counts->killed = true;
  while (true) kill(getpid(), SIGKILL);
}

}  // namespace vecino::engine

// These stand in for libc's in this executable.
using vecino::engine::WatchedStep;

extern "C" int open(const char* path, int flags, ...) {
  using namespace vecino::engine;
  mode_t mode = 0;
  if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  const WatchedStep step((flags & O_CREAT) != 0 ? StepOf(path, kOpen) : -1);
  const auto fd = static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
  if (fd >= 0 && fd < kDescriptors && IsBeneathRoot(path)) {
    const int kind = KindOf(path);
    descriptors[static_cast<size_t>(fd)] =
        (flags & O_DIRECTORY) != 0 ? kFolder : static_cast<char>(kind + 1);
  }
  step.After();
  return fd;
}

extern "C" int close(int fd) {
  using namespace vecino::engine;
  if (fd >= 0 && fd < kDescriptors) descriptors[static_cast<size_t>(fd)] = 0;
  return static_cast<int>(syscall(SYS_close, fd));
}

extern "C" ssize_t write(int fd, const void* data, size_t bytes) {
  using namespace vecino::engine;
  const WatchedStep step(StepOf(fd, kWrite));
  if (step.dies_half_way()) {
    syscall(SYS_write, fd, data, bytes / 2);
    WatchedStep::Die();
  }
  const ssize_t written = syscall(SYS_write, fd, data, bytes);
  step.After();
  return written;
}

// SIGKILL takes nothing that the kernel was given, so nothing is synced: that would be most of the
// time.
extern "C" int fsync(int fd) {
  using namespace vecino::engine;
  WatchedStep(StepOf(fd, kSync)).After();
  return 0;
}
extern "C" int fdatasync(int) { return 0; }

// All threads keep their priority: on a busy machine this test would wait for maintenance.
extern "C" int setpriority(__priority_which_t, id_t, int) noexcept { return 0; }
extern "C" int sched_setscheduler(pid_t, int, const sched_param*) noexcept { return 0; }

extern "C" int rename(const char* from, const char* to) noexcept {
  using namespace vecino::engine;
  const WatchedStep step(StepOf(to, kRename));
  const auto result = static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
  step.After();
  return result;
}

extern "C" int mkdir(const char* path, mode_t mode) noexcept {
  using namespace vecino::engine;
  const WatchedStep step(IsBeneathRoot(path) ? static_cast<int>(kMakeFolder) : -1);
  const auto result = static_cast<int>(syscall(SYS_mkdirat, AT_FDCWD, path, mode));
  step.After();
  return result;
}

extern "C" int unlinkat(int folder, const char* path, int flags) noexcept {
  return vecino::engine::RemoveAt(folder, path, flags);
}
extern "C" int unlink(const char* path) noexcept {
  return vecino::engine::RemoveAt(AT_FDCWD, path, 0);
}
extern "C" int rmdir(const char* path) noexcept {
  return vecino::engine::RemoveAt(AT_FDCWD, path, AT_REMOVEDIR);
}
extern "C" int remove(const char* path) noexcept {
  const int result = vecino::engine::RemoveAt(AT_FDCWD, path, 0);
  return result != 0 && errno == EISDIR ? rmdir(path) : result;
}
