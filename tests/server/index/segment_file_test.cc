#include "server/index/segment_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include "absl/strings/str_cat.h"
#include "server/index/crc32c.h"
#include "server/index/segment_file_format.h"

namespace {

// What this process asked of the disk, in order; "fsync PATH" and "rename FROM TO".
std::vector<std::string>* disk_calls = nullptr;
bool fsync_fails = false;

}  // namespace

// In front of libc's, so that order and failures can be tested.
extern "C" int fsync(int fd) {
  if (disk_calls != nullptr) {
    char path[4096] = {};
    const ssize_t n = readlink(absl::StrCat("/proc/self/fd/", fd).c_str(), path, sizeof path - 1);
    disk_calls->push_back(absl::StrCat("fsync ", std::string(path, n < 0 ? 0 : n)));
  }
  if (fsync_fails) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(syscall(SYS_fsync, fd));
}

extern "C" int rename(const char* from, const char* to) noexcept {
  if (disk_calls != nullptr) disk_calls->push_back(absl::StrCat("rename ", from, " ", to));
  return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

namespace vecino::index {
namespace {

namespace fs = std::filesystem;
namespace format = segment_file_format;
using Verify = SegmentFile::Verify;
using absl::StatusCode;

class SegmentFileTest : public testing::Test {
 protected:
  SegmentFileTest()
      : folder_(fs::path(testing::TempDir()) /
                absl::StrCat("segment_file.", getpid(), ".",
                             testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::create_directories(folder_);
    path_ = (folder_ / "a.seg").string();
  }
  ~SegmentFileTest() override { fs::remove_all(folder_); }

  // 3 pages and the tail: a long section, an empty one, one of 3 bytes.
  void WriteSmallFile() {
    std::mt19937 rng(1);
    for (char& c : long_) c = static_cast<char>(rng());
    SegmentFileWriter writer(path_, "test");
    ASSERT_TRUE(writer.AddSection("long", long_.data(), long_.size()).ok());
    ASSERT_TRUE(writer.Begin("empty").ok());
    ASSERT_TRUE(writer.AddSection("abc", "abc", 3).ok());
    ASSERT_TRUE(writer.Commit().ok());
  }

  std::string Bytes() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  void SetBytes(const std::string& bytes) const {
    fs::remove(path_);  // much faster than to truncate it, on ext4
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }

  absl::Status Open(Verify verify = Verify::kAll, std::string_view type = "test") const {
    return SegmentFile::Open(path_, type, verify).status();
  }

  // Opens `bytes`, and when that works, reads every byte of every section.
  absl::Status OpenAndReadAll(const std::string& bytes, Verify verify) const {
    SetBytes(bytes);
    const auto file = SegmentFile::Open(path_, "test", verify);
    if (!file.ok()) return file.status();
    unsigned sum = 0;
    for (const char* name : {"long", "empty", "abc"}) {
      const auto section = (*file)->Section(name);
      if (!section.ok()) continue;
      for (const std::byte b : *section) sum += static_cast<unsigned>(b);
    }
    EXPECT_LE(sum, 255u * bytes.size());
    return (*file)->VerifyAll();
  }

  fs::path folder_;
  std::string path_;
  std::string long_ = std::string(5000, '\0');
};

// The parts of a file after the sections, to be changed and put back with right checksums.
struct Parts {
  std::string front;  // header and sections
  std::vector<format::TableEntry> table;
  format::Footer footer;

  explicit Parts(const std::string& bytes) {
    std::memcpy(&footer, bytes.data() + bytes.size() - sizeof footer, sizeof footer);
    front = bytes.substr(0, footer.table_offset);
    table.resize(footer.sections);
    std::memcpy(table.data(), bytes.data() + footer.table_offset,
                table.size() * sizeof(format::TableEntry));
  }
  std::string Join() {
    const size_t n = table.size() * sizeof(format::TableEntry);
    footer.table_crc = Crc32c(table.data(), n);
    footer.crc = Crc32c(&footer, offsetof(format::Footer, crc));
    return front + std::string(reinterpret_cast<const char*>(table.data()), n) +
           std::string(reinterpret_cast<const char*>(&footer), sizeof footer);
  }
};

TEST_F(SegmentFileTest, RoundTrip) {
  WriteSmallFile();
  const auto file = SegmentFile::Open(path_, "test", Verify::kAll);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->path(), path_);
  EXPECT_EQ((*file)->bytes(), static_cast<int64_t>(fs::file_size(path_)));
  const auto section = (*file)->Section("long");
  ASSERT_TRUE(section.ok());
  ASSERT_EQ(section->size(), long_.size());
  EXPECT_EQ(std::memcmp(section->data(), long_.data(), long_.size()), 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(section->data()) % 64, 0u);
  EXPECT_EQ((*file)->Section("empty")->size(), 0u);
  EXPECT_EQ((*file)->Section("nothing").status().code(), StatusCode::kNotFound);
  const auto abc = (*file)->Array<char>("abc", 3);
  ASSERT_TRUE(abc.ok());
  EXPECT_EQ(std::string(*abc, 3), "abc");
  EXPECT_TRUE((*file)->Array<uint64_t>("long", 625).ok());
  EXPECT_TRUE((*file)->Array<uint64_t>("empty", 0).ok());
  EXPECT_EQ((*file)->Array<char>("abc", 2).status().code(), StatusCode::kDataLoss);
  EXPECT_EQ((*file)->Array<uint16_t>("abc", 1).status().code(), StatusCode::kDataLoss);
  const size_t wraps = (size_t{1} << 62) + 1;  // times 4 is 4
  EXPECT_EQ((*file)->Array<uint32_t>("abc", wraps).status().code(), StatusCode::kDataLoss);
  (*file)->AdviseRandom("long");
  (*file)->AdviseRandom("empty");
  (*file)->AdviseRandom("nothing");
}

TEST_F(SegmentFileTest, LayoutIsAsDocumented) {
  WriteSmallFile();
  const std::string bytes = Bytes();
  ASSERT_EQ(bytes.size(), 12352u + 3 * 48 + 32);
  EXPECT_EQ(bytes.substr(0, 8), std::string("VECSEG\0\0", 8));
  EXPECT_EQ(bytes.substr(8, 4), std::string("\2\0\0\0", 4));
  EXPECT_EQ(bytes.substr(16, 16), "test" + std::string(12, '\0'));
  EXPECT_EQ(bytes.substr(4096, 5000), long_);
  EXPECT_EQ(bytes.substr(12288, 3), "abc");
  EXPECT_EQ(bytes.substr(12352, 24), "long" + std::string(20, '\0'));
  const auto number = [&](size_t at, size_t size) {
    uint64_t n = 0;
    std::memcpy(&n, &bytes[at], size);
    return n;
  };
  EXPECT_EQ(number(12352 + 24, 8), 4096u);
  EXPECT_EQ(number(12352 + 32, 8), 5000u);
  EXPECT_EQ(number(12352 + 40, 4), Crc32c(long_.data(), long_.size()));
  EXPECT_EQ(number(12352 + 144, 8), 12352u);
  EXPECT_EQ(number(12352 + 152, 8), bytes.size());
  EXPECT_EQ(number(12352 + 160, 4), 3u);
  EXPECT_EQ(number(60, 4), Crc32c(bytes.data(), 60));
  EXPECT_EQ(bytes.substr(bytes.size() - 4), "VEND");
}

TEST_F(SegmentFileTest, PiecesOfAnySizeBothWays) {
  std::mt19937 rng(2);
  std::string bytes(5 << 20, '\0');
  for (size_t i = 0; i + 4 <= bytes.size(); i += 4) {
    const uint32_t x = rng();
    std::memcpy(&bytes[i], &x, 4);
  }
  for (const std::string& path : {path_, std::string()}) {
    SegmentFileWriter writer(path, "test");
    for (int section = 0; section < 4; ++section) {
      ASSERT_TRUE(writer.Begin(absl::StrCat(section)).ok());
      for (size_t at = 0; at < bytes.size();) {
        const size_t most = section == 0 ? bytes.size() : size_t{1} << (7 * section);
        const size_t n = std::min(bytes.size() - at, rng() % most + 1);
        ASSERT_TRUE(writer.Append(&bytes[at], n).ok());
        at += n;
      }
    }
    const auto file = writer.Commit();
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ((*file)->path(), path);
    EXPECT_TRUE((*file)->VerifyAll().ok()) << (*file)->VerifyAll();
    for (int section = 0; section < 4; ++section) {
      const auto got = (*file)->Array<char>(absl::StrCat(section), bytes.size());
      ASSERT_TRUE(got.ok());
      EXPECT_EQ(std::memcmp(*got, bytes.data(), bytes.size()), 0);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(*got) % 64, 0u);
    }
    EXPECT_EQ(writer.Commit().status().code(), StatusCode::kFailedPrecondition);
    EXPECT_EQ(writer.Append("x", 1).code(), StatusCode::kFailedPrecondition);
  }
}

TEST_F(SegmentFileTest, NoSectionsAtAll) {
  for (const std::string& path : {path_, std::string()}) {
    const auto file = SegmentFileWriter(path, "0123456789abcdef").Commit();
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ((*file)->bytes(), 96);
    EXPECT_TRUE((*file)->VerifyAll().ok());
  }
  EXPECT_TRUE(Open(Verify::kAll, "0123456789abcdef").ok());
}

TEST_F(SegmentFileTest, EveryChangedByteIsFound) {
  WriteSmallFile();
  std::string bytes = Bytes();
  std::mt19937 rng(3);
  const int fd = open(path_.c_str(), O_WRONLY);
  ASSERT_GE(fd, 0);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const char changed = static_cast<char>(bytes[i] ^ static_cast<char>(1 + rng() % 255));
    ASSERT_EQ(pwrite(fd, &changed, 1, static_cast<off_t>(i)), 1);
    const absl::Status status = Open();
    ASSERT_EQ(status.code(), StatusCode::kDataLoss) << i << ": " << status;
    ASSERT_NE(status.message().find(path_), std::string::npos);
    const absl::Status table = Open(Verify::kTable);
    ASSERT_TRUE(table.ok() || table.code() == StatusCode::kDataLoss) << i << ": " << table;
    if (i < 64 || i >= 12352) {
      ASSERT_EQ(table.code(), StatusCode::kDataLoss) << i;
    }
    ASSERT_EQ(pwrite(fd, &bytes[i], 1, static_cast<off_t>(i)), 1);
  }
  close(fd);
  EXPECT_TRUE(Open().ok());
}

TEST_F(SegmentFileTest, EveryTruncationAndExtensionIsFound) {
  WriteSmallFile();
  const std::string bytes = Bytes();
  SetBytes(bytes + std::string(1, '\0'));
  EXPECT_EQ(Open(Verify::kTable).code(), StatusCode::kDataLoss);
  SetBytes(bytes + bytes);
  EXPECT_EQ(Open(Verify::kTable).code(), StatusCode::kDataLoss);
  SetBytes(bytes);
  for (size_t n = bytes.size(); n-- > 0;) {
    ASSERT_EQ(truncate(path_.c_str(), static_cast<off_t>(n)), 0);
    ASSERT_EQ(Open(Verify::kTable).code(), StatusCode::kDataLoss) << n;
  }
  fs::remove(path_);
  EXPECT_EQ(Open().code(), StatusCode::kNotFound);
  fs::create_directory(path_);
  EXPECT_EQ(Open().code(), StatusCode::kDataLoss);
}

TEST_F(SegmentFileTest, WrongTypeAndVersion) {
  WriteSmallFile();
  EXPECT_EQ(Open(Verify::kTable, "other").code(), StatusCode::kDataLoss);
  EXPECT_EQ(Open(Verify::kTable, "tes").code(), StatusCode::kDataLoss);
  EXPECT_EQ(Open(Verify::kTable, "").code(), StatusCode::kDataLoss);
  const std::string bytes = Bytes();
  for (const uint32_t version : {0u, kSegmentFileVersion + 1, ~0u}) {
    format::Header header;
    std::memcpy(&header, bytes.data(), sizeof header);
    header.version = version;
    header.crc = Crc32c(&header, offsetof(format::Header, crc));
    // A newer version may have anything behind its header.
    for (const std::string& rest : {bytes.substr(sizeof header), std::string(100, 'x')}) {
      SetBytes(std::string(reinterpret_cast<const char*>(&header), sizeof header) + rest);
      EXPECT_EQ(Open(Verify::kTable).code(),
                version == 0 ? StatusCode::kDataLoss : StatusCode::kFailedPrecondition);
    }
  }
}

// Bytes that the kernel says this process has locked.
int64_t Locked() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmLck:")) return std::stoll(line.substr(6)) * 1024;
  }
  return -1;
}

TEST_F(SegmentFileTest, FilesAreKeptInMemoryUpToALimit) {
  WriteSmallFile();
  const auto size = static_cast<int64_t>(Bytes().size());
  if (const absl::Status status = SegmentFile::KeepInMemory(2 * size); !status.ok()) {
    GTEST_SKIP() << "this system locks no memory: " << status;
  }
  const int64_t before = Locked();
  {
    auto one = SegmentFile::Open(path_, "test", Verify::kTable);
    auto two = SegmentFile::Open(path_, "test", Verify::kAll);
    ASSERT_TRUE(one.ok() && two.ok());
    EXPECT_EQ(SegmentFile::BytesKept(), 2 * size);
    const int64_t both = Locked() - before;
    EXPECT_GE(both, 2 * size);
    auto three = SegmentFile::Open(path_, "test", Verify::kAll);
    ASSERT_TRUE(three.ok());
    EXPECT_EQ(SegmentFile::BytesKept(), 2 * size);
    EXPECT_EQ(Locked() - before, both);
    two->reset();
    EXPECT_EQ(SegmentFile::BytesKept(), size);
    EXPECT_EQ(Locked() - before, both / 2);
    auto checked = SegmentFile::Open(path_, "test", Verify::kOnly);
    ASSERT_TRUE(checked.ok());
    EXPECT_EQ(SegmentFile::BytesKept(), size);
  }
  EXPECT_EQ(SegmentFile::BytesKept(), 0);
  EXPECT_TRUE(SegmentFile::KeepInMemory(0).ok());
  auto none = SegmentFile::Open(path_, "test", Verify::kAll);
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(Locked(), before);
}

// What the system forbids is said, and what it allows is used.
TEST_F(SegmentFileTest, TheSystemsLimitOnLockedMemoryIsTold) {
  // CAP_IPC_LOCK makes limits void, so this is only seen without it.
  const rlimit small = {.rlim_cur = 65536, .rlim_max = 65536};
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    setrlimit(RLIMIT_MEMLOCK, &small);
    if (geteuid() == 0 && setuid(65534) != 0) _exit(3);
    const absl::Status status = SegmentFile::KeepInMemory(1 << 20);
    const bool told = status.code() == StatusCode::kResourceExhausted &&
                      status.message().find("65536 bytes") != std::string::npos;
    _exit(told ? 0 : 1);
  }
  int result = 0;
  ASSERT_EQ(waitpid(child, &result, 0), child);
  EXPECT_TRUE(WIFEXITED(result) && WEXITSTATUS(result) == 0) << result;
}

TEST_F(SegmentFileTest, TablesThatLie) {
  WriteSmallFile();
  const std::string bytes = Bytes();
  const uint64_t huge = ~uint64_t{0};
  const std::vector<std::function<void(Parts*)>> lies = {
      [&](Parts* p) { p->table[0].offset = huge - 4095; },
      [&](Parts* p) { p->table[0].length = huge; },
      [&](Parts* p) { p->table[0].length = huge - 4095; },
      [&](Parts* p) { p->table[2].length = 65; },               // into the table
      [&](Parts* p) { p->table[0].length = 9000; },             // into the next
      [&](Parts* p) { p->table[1].offset = 4096; },             // onto another
      [&](Parts* p) { p->table[2].offset += 1; },               // aligned wrongly
      [&](Parts* p) { p->table[0].offset = 0; },                // onto the header
      [&](Parts* p) { std::swap(p->table[0], p->table[2]); },   // out of order
      [&](Parts* p) { std::strcpy(p->table[1].name, "abc"); },  // twice
      [&](Parts* p) { std::memset(p->table[1].name, 0, 24); },  // no name
      [&](Parts* p) { p->table[1].name[23] = 'x'; },            // something behind the name
      [&](Parts* p) { p->table.pop_back(); },                   // fewer than told
      [&](Parts* p) { p->footer.sections = 0xffffffff; },
      [&](Parts* p) { p->footer.sections = 0; },
      [&](Parts* p) { p->footer.table_offset = huge; },
      [&](Parts* p) { p->footer.table_offset = huge - 143; },
      [&](Parts* p) { p->footer.table_offset = 0; },
      [&](Parts* p) { p->footer.file_length = huge; },
      [&](Parts* p) { p->front += std::string(64, '\0'); },  // the table moved
      [&](Parts* p) {                                        // a hole before the table
        p->front += std::string(64, '\0');
        p->footer.table_offset += 64;
        p->footer.file_length += 64;
      },
  };
  for (size_t i = 0; i < lies.size(); ++i) {
    Parts parts(bytes);
    lies[i](&parts);
    const absl::Status status = OpenAndReadAll(parts.Join(), Verify::kTable);
    EXPECT_EQ(status.code(), StatusCode::kDataLoss) << i << ": " << status;
  }
  Parts same(bytes);
  EXPECT_TRUE(OpenAndReadAll(same.Join(), Verify::kTable).ok());
}

TEST_F(SegmentFileTest, RandomLiesNeverCrash) {
  WriteSmallFile();
  const std::string bytes = Bytes();
  std::mt19937_64 rng(4);
  const uint64_t numbers[] = {0, 1, 3, 48, 64, 96, 4095, 4096, 5000, 8192, 12288, 12352, 12528};
  const auto number = [&]() -> uint64_t {
    const uint64_t n = rng() % 4 == 0 ? rng() >> rng() % 64 : numbers[rng() % 13];
    return rng() % 4 == 0 ? 0 - n : n;
  };
  int accepted = 0;
  for (int i = 0; i < 4000; ++i) {
    Parts parts(bytes);
    for (uint64_t changes = 1 + rng() % 2; changes > 0; --changes) {
      format::TableEntry& entry = parts.table[rng() % 3];
      switch (rng() % 5) {
        case 0:
          entry.offset = number();
          break;
        case 1:
          entry.length = number();
          break;
        case 2:
          entry.name[rng() % 24] = static_cast<char>(number());
          break;
        case 3:
          parts.footer.sections = static_cast<uint32_t>(number());
          break;
        case 4:
          parts.footer.table_offset = number();
          break;
      }
    }
    const absl::Status status = OpenAndReadAll(parts.Join(), Verify::kTable);
    ASSERT_TRUE(status.ok() || status.code() == StatusCode::kDataLoss) << status;
    accepted += status.ok();
  }
  EXPECT_LT(accepted, 1000);  // another name, or what was there already
}

TEST_F(SegmentFileTest, CutWhileMappedIsAStatus) {
#ifndef MADV_POPULATE_READ
  GTEST_SKIP() << "needs Linux 5.14";
#endif
  WriteSmallFile();
  const auto file = SegmentFile::Open(path_, "test", Verify::kAll);
  ASSERT_TRUE(file.ok());
  for (const off_t n : {12528 - 32, 9000, 4096, 0}) {
    ASSERT_EQ(truncate(path_.c_str(), n), 0);
    EXPECT_EQ((*file)->VerifyAll().code(), StatusCode::kDataLoss) << n;
  }
}

TEST_F(SegmentFileTest, NothingUnderTheNameBeforeCommit) {
  {
    SegmentFileWriter writer(path_, "test");
    ASSERT_TRUE(writer.AddSection("a", std::string(3 << 20, 'x').data(), 3 << 20).ok());
    EXPECT_FALSE(fs::exists(path_));
    EXPECT_TRUE(fs::exists(path_ + ".tmp"));
  }
  EXPECT_TRUE(fs::is_empty(folder_));

  std::vector<std::string> calls;
  SegmentFileWriter writer(path_, "test");
  ASSERT_TRUE(writer.AddSection("a", "x", 1).ok());
  disk_calls = &calls;
  const absl::Status status = writer.Commit().status();
  disk_calls = nullptr;
  ASSERT_TRUE(status.ok()) << status;
  const std::string folder = fs::canonical(folder_).string();
  EXPECT_EQ(calls, (std::vector<std::string>{absl::StrCat("fsync ", folder, "/a.seg.tmp"),
                                             absl::StrCat("rename ", path_, ".tmp ", path_),
                                             absl::StrCat("fsync ", folder)}));
  EXPECT_FALSE(fs::exists(path_ + ".tmp"));
}

TEST_F(SegmentFileTest, AFailedSyncLeavesTheOldFile) {
  WriteSmallFile();
  const std::string before = Bytes();
  {
    SegmentFileWriter writer(path_, "test");
    ASSERT_TRUE(writer.AddSection("a", "x", 1).ok());
    fsync_fails = true;
    const absl::Status status = writer.Commit().status();
    fsync_fails = false;
    EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
    EXPECT_EQ(writer.Commit().status(), status);
  }
  EXPECT_EQ(Bytes(), before);
  EXPECT_FALSE(fs::exists(path_ + ".tmp"));
}

TEST_F(SegmentFileTest, FullDisk) {
  fs::create_symlink("/dev/full", path_ + ".tmp");
  {
    SegmentFileWriter writer(path_, "test");
    const std::string mebibyte(1 << 20, 'x');
    absl::Status status = writer.Begin("a");
    for (int i = 0; i < 4 && status.ok(); ++i) status = writer.Append(mebibyte.data(), 1 << 20);
    EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status;
    EXPECT_NE(status.message().find(path_), std::string::npos) << status;
    EXPECT_NE(status.message().find("bytes"), std::string::npos) << status;
    EXPECT_EQ(writer.Begin("b"), status);
    EXPECT_EQ(writer.Commit().status(), status);
  }
  EXPECT_TRUE(fs::is_empty(folder_));
  fs::create_symlink("/dev/full", path_ + ".tmp");
  EXPECT_EQ(SegmentFileWriter(path_, "test").Commit().status().code(),
            StatusCode::kResourceExhausted);
}

TEST_F(SegmentFileTest, FileTooLargeForItsLimit) {
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit limit = before;
  limit.rlim_cur = 1500000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::string bytes(1000000, 'x');
  SegmentFileWriter writer(path_, "test");
  absl::Status first = writer.AddSection("a", bytes.data(), bytes.size());
  absl::Status second = writer.AddSection("b", bytes.data(), bytes.size());
  absl::Status last = writer.Commit().status();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(first.ok()) << first;
  EXPECT_EQ(last.code(), StatusCode::kResourceExhausted) << second << last;
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(SegmentFileTest, MisuseIsAStatusThatStays) {
  EXPECT_EQ(SegmentFileWriter(path_, std::string(17, 'x')).Commit().status().code(),
            StatusCode::kInternal);
  for (const std::string& name : {std::string(), std::string(25, 'x'), std::string("a\0b", 3)}) {
    EXPECT_EQ(SegmentFileWriter("", "t").Begin(name).code(), StatusCode::kInternal);
  }
  SegmentFileWriter twice("", "t");
  ASSERT_TRUE(twice.Begin(std::string(24, 'x')).ok());
  EXPECT_EQ(twice.Begin(std::string(24, 'x')).code(), StatusCode::kInternal);
  EXPECT_EQ(twice.Commit().status().code(), StatusCode::kInternal);
  EXPECT_EQ(SegmentFileWriter("", "t").Append("x", 1).code(), StatusCode::kInternal);
  SegmentFileWriter nowhere((folder_ / "no" / "a.seg").string(), "t");
  EXPECT_EQ(nowhere.Begin("a").code(), StatusCode::kFailedPrecondition);
}

TEST_F(SegmentFileTest, RemoveLeftovers) {
  for (const char* name : {"a.seg", "b.seg", "c.tmp", "a.seg.tmp", "other"}) {
    std::ofstream(folder_ / name) << "x";
  }
  fs::create_directory(folder_ / "folder");
  fs::create_symlink(folder_ / "a.seg", folder_ / "link");
  EXPECT_EQ(RemoveLeftovers(folder_.string(), {"a.seg", "c.tmp", "none"}),
            (std::vector<std::string>{"a.seg.tmp", "b.seg", "c.tmp", "other"}));
  EXPECT_TRUE(fs::exists(folder_ / "a.seg"));
  EXPECT_TRUE(fs::exists(folder_ / "folder"));
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_FALSE(fs::exists(folder_ / "b.seg"));
  EXPECT_TRUE(RemoveLeftovers((folder_ / "none").string(), {}).empty());
}

TEST_F(SegmentFileTest, MakeFolder) {
  std::vector<std::string> calls;
  disk_calls = &calls;
  const absl::Status status = MakeFolder((folder_ / "x" / "y/").string());
  disk_calls = nullptr;
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(fs::is_directory(folder_ / "x" / "y"));
  const std::string folder = fs::canonical(folder_).string();
  EXPECT_EQ(calls, (std::vector<std::string>{absl::StrCat("fsync ", folder),
                                             absl::StrCat("fsync ", folder, "/x")}));
  EXPECT_TRUE(MakeFolder((folder_ / "x" / "y").string()).ok());
  std::ofstream(folder_ / "file") << "x";
  EXPECT_EQ(MakeFolder((folder_ / "file").string()).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(MakeFolder((folder_ / "file" / "z").string()).code(), StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace vecino::index
