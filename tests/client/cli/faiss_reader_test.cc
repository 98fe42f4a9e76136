// FAISS's files, put together byte by byte: whole, cut short and damaged.
// (tests/integration/index_export_test.py reads what FAISS itself wrote.)
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "client/cli/faiss_file.h"
#include "client/cli/record_reader.h"

namespace vecino::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kD = 3;

template <class T>
std::string Raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}
template <class T>
std::string Counted(const std::vector<T>& values) {
  std::string bytes = Raw<uint64_t>(values.size());
  for (const T& value : values) bytes += Raw(value);
  return bytes;
}

std::string Header(int64_t rows, int metric = 1) {
  return Raw<int32_t>(kD) + Raw<int64_t>(rows) + Raw<int64_t>(1 << 20) + Raw<int64_t>(1 << 20) +
         '\1' + Raw<int32_t>(metric) + (metric > 1 ? Raw<float>(0) : "");
}
// Row i is {i, i + 0.5, −i}.
std::vector<float> Rows(int from, int to) {
  std::vector<float> values;
  for (int i = from; i < to; ++i) {
    const auto x = static_cast<float>(i);
    values.insert(values.end(), {x, x + 0.5f, -x});
  }
  return values;
}
std::string Flat(int rows, const char* name = "IxF2", int metric = 1) {
  return name + Header(rows, metric) + Counted(Rows(0, rows));
}
std::string Mapped(const std::string& inner, const std::vector<int64_t>& ids) {
  return "IxMp" + Header(static_cast<int64_t>(ids.size())) + inner + Counted(ids);
}
std::string Refined(const std::string& base, const std::string& flat, int rows, int metric = 1) {
  return "IxRF" + Header(rows, metric) + base + flat + Raw<float>(4);
}
std::string Hnsw(const std::string& storage, int rows) {
  return "IHNf" + Header(rows) + Counted<double>({0.5, 0.25}) + Counted<int32_t>({0, 4}) +
         Counted(std::vector<int32_t>(rows, 1)) + Counted(std::vector<uint64_t>(rows + 1, 0)) +
         Counted<int32_t>({1, 2, -1}) + std::string(20, '\2') + storage;
}
// Rows 0 and 3 in the first of three lists, 1 and 2 in the last.
std::string Ivf(bool sparse, const std::vector<int64_t>& ids = {0, 3, 1, 2}) {
  std::string bytes = "IwFl" + Header(4) + Raw<uint64_t>(3) + Raw<uint64_t>(1) + Flat(3) + '\0' +
                      Counted<int64_t>({}) + "ilar" + Raw<uint64_t>(3) + Raw<uint64_t>(4 * kD);
  bytes +=
      sparse ? "sprs" + Counted<uint64_t>({0, 2, 2, 2}) : "full" + Counted<uint64_t>({2, 0, 2});
  const auto list = [&](std::vector<float> first, const std::vector<float>& second, int at) {
    for (const float x : first) bytes += Raw(x);
    for (const float x : second) bytes += Raw(x);
    bytes += Raw(ids[at]) + Raw(ids[at + 1]);
  };
  list(Rows(0, 1), Rows(3, 4), 0);
  list(Rows(1, 2), Rows(2, 3), 2);
  return bytes;
}

class FaissReaderTest : public ::testing::Test {
 protected:
  FaissReaderTest()
      : path_(::testing::TempDir() + "faiss_reader_test_" + std::to_string(getpid())) {}
  ~FaissReaderTest() override {
    std::filesystem::remove(path_);
    std::filesystem::remove(path_ + ".ids");
  }

  Result<std::unique_ptr<FaissFile>> Open(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary) << bytes;
    return FaissFile::Open(path_);
  }
  std::string Error(const std::string& bytes) { return Open(bytes).status().message(); }

  // The ids, in order; each row's vector must be the one of the row with the number in `rows`.
  void ExpectRows(const std::string& bytes, const std::vector<int64_t>& ids,
                  const std::vector<int>& rows) {
    const auto file = Open(bytes);
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    ASSERT_EQ((*file)->rows(), static_cast<int64_t>(ids.size()));
    EXPECT_EQ((*file)->dimension(), kD);
    std::vector<float> vector;
    for (size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ((*file)->id(static_cast<int64_t>(i)), ids[i]);
      ASSERT_TRUE((*file)->Read(static_cast<int64_t>(i), &vector).ok());
      EXPECT_EQ(vector, Rows(rows[i], rows[i] + 1));
    }
  }

  // Ids of the documents, or errors.
  std::vector<std::string> Ids(const std::string& bytes, const std::string& ids) {
    std::ofstream(path_, std::ios::binary) << bytes;
    std::ofstream(path_ + ".ids", std::ios::binary) << ids;
    const auto records = NewFaissReader(path_, path_ + ".ids", &stop_);
    if (!records.ok()) return {records.status().message()};
    std::vector<std::string> found;
    for (Record record; records->reader->Next(&record);) {
      found.push_back(record.error.empty() ? record.document.id : record.error);
    }
    EXPECT_TRUE(records->reader->status().ok()) << records->reader->status().ToString();
    EXPECT_EQ(records->position(), records->bytes);
    return found;
  }

  const std::string path_;
  std::atomic<bool> stop_{false};
};

TEST_F(FaissReaderTest, EveryKindThatHoldsVectors) {
  for (const char* name : {"IxFI", "IxF2", "IxFl"}) {
    ExpectRows(Flat(3, name), {0, 1, 2}, {0, 1, 2});
  }
  ExpectRows(Flat(2, "IxFl", 2), {0, 1}, {0, 1});  // L1, whose header is longer
  ExpectRows(Flat(0), {}, {});
  ExpectRows(Ivf(false), {0, 1, 2, 3}, {0, 1, 2, 3});
  ExpectRows(Ivf(true), {0, 1, 2, 3}, {0, 1, 2, 3});
  ExpectRows(Ivf(false, {90, -5, 7, 8}), {-5, 7, 8, 90}, {3, 1, 2, 0});
  ExpectRows(Hnsw(Flat(3), 3), {0, 1, 2}, {0, 1, 2});
  ExpectRows(Mapped(Flat(3), {30, 10, 20}), {10, 20, 30}, {1, 2, 0});
  ExpectRows(Mapped(Ivf(false), {7, 6, 5, 4}), {4, 5, 6, 7}, {3, 2, 1, 0});
  ExpectRows(Refined("any index at all", Flat(3), 3), {0, 1, 2}, {0, 1, 2});
  ExpectRows(Refined("IwPQ...", Flat(3, "IxFl", 4), 3, 4), {0, 1, 2}, {0, 1, 2});
  ExpectRows(Mapped(Refined("IxHe", Flat(2), 2), {5, 4}), {4, 5}, {1, 0});
  ExpectRows(Mapped(Mapped(Hnsw(Flat(2), 2), {1, 0}), {8, 9}), {8, 9}, {1, 0});
}

TEST_F(FaissReaderTest, SaysWhatItCannotRead) {
  EXPECT_THAT(Error("IwPQ" + Header(3)), AllOf(HasSubstr("IndexIVFPQ"), HasSubstr("RefineFlat")));
  EXPECT_THAT(Error("IxHe" + Header(3)), HasSubstr("IndexLSH"));
  EXPECT_THAT(Error("IxPT" + Header(3)), HasSubstr("IndexPreTransform"));
  EXPECT_THAT(Error("Izz\x01" + Header(3)), HasSubstr("of the kind \"Izz \""));
  EXPECT_THAT(Error(Mapped("IxSQ" + Header(2), {1, 2})), HasSubstr("IndexScalarQuantizer"));
  EXPECT_THAT(Error("PK\x03\x04"), HasSubstr("no FAISS index file"));
  EXPECT_THAT(Error(""), HasSubstr("cut short"));
  EXPECT_THAT(Error(Refined("IwPQ", "IxSQ" + std::string(77, 'x'), 3)),
              HasSubstr("something other than full vectors"));
  std::string elsewhere = Ivf(false);
  elsewhere.replace(elsewhere.find("ilar"), 4, "ilod");
  EXPECT_THAT(Error(elsewhere), HasSubstr("\"ilod\""));
  std::string quantizer = Ivf(false);
  quantizer.replace(quantizer.find("IxF2"), 4, "IxRF");
  EXPECT_THAT(Error(quantizer), HasSubstr("quantizer of an IndexIVFFlat"));
  EXPECT_THAT(FaissFile::Open("/no/such/file").status().message(), HasSubstr("cannot be opened"));
  EXPECT_THAT(FaissFile::Open(::testing::TempDir()).status().message(), HasSubstr("regular file"));
}

TEST_F(FaissReaderTest, SaysWhatDoesNotFit) {
  EXPECT_THAT(Error("IxF2" + Header(3) + Counted(Rows(0, 2))), HasSubstr("6 floats for 3 rows"));
  EXPECT_THAT(Error("IxF2" + Header(-1) + Counted(Rows(0, 2))), HasSubstr("-1 rows"));
  EXPECT_THAT(Error(Mapped(Flat(2), {1, 2, 3})), HasSubstr("3 ids for 2 rows"));
  EXPECT_THAT(Error(Mapped(Flat(3), {4, 7, 4})), HasSubstr("the id 4 twice"));
  EXPECT_THAT(Error(Ivf(false, {0, 1, 1, 2})), HasSubstr("the id 1 twice"));
  EXPECT_THAT(Error(Hnsw(Flat(2), 3)), HasSubstr("graph of 3 rows over 2"));
  std::string nested = Flat(1);
  for (int i = 0; i < 40; ++i) nested = Mapped(nested, {0});
  EXPECT_THAT(Error(nested), HasSubstr("too deeply"));
}

// No crash, no read outside, and no allocation beyond what the file's size allows.
TEST_F(FaissReaderTest, DamageIsSaidOrHarmless) {
  const int memory = memfd_create("faiss", MFD_CLOEXEC);  // thousands of files, none on the disk
  ASSERT_GE(memory, 0);
  const auto open_copy = [&](const std::string& bytes) {
    EXPECT_EQ(ftruncate(memory, 0), 0);
    EXPECT_EQ(pwrite(memory, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    return FaissFile::Open("/proc/self/fd/" + std::to_string(memory));
  };
  std::mt19937 random(11);
  for (const std::string& whole :
       {Flat(4), Ivf(false), Ivf(true), Hnsw(Flat(4), 4), Mapped(Ivf(true), {4, 3, 2, 1}),
        Mapped(Refined("xx", Flat(4), 4), {1, 2, 3, 4})}) {
    ASSERT_TRUE(open_copy(whole).ok());
    for (size_t size = 0; size < whole.size(); ++size) {
      EXPECT_FALSE(open_copy(whole.substr(0, size)).ok()) << size << " of " << whole.size();
    }
    for (int i = 0; i < 3000; ++i) {
      std::string damaged = whole;
      for (unsigned n = 1 + random() % 3; n > 0; --n) {
        const size_t at = random() % damaged.size();
        if (random() % 2 == 0) {
          damaged[at] = static_cast<char>(random());
        } else {
          const uint64_t huge = uint64_t{1} << random() % 64;
          std::memcpy(&damaged[at], &huge, std::min(sizeof(huge), damaged.size() - at));
        }
      }
      const auto file = open_copy(damaged);
      if (!file.ok()) continue;
      std::vector<float> vector;
      for (int64_t row = 0; row < (*file)->rows(); ++row) {
        EXPECT_TRUE((*file)->Read(row, &vector).ok());
      }
    }
  }
  close(memory);
}

TEST_F(FaissReaderTest, IdsComeFromTheirFile) {
  EXPECT_THAT(Ids(Flat(3), "a\r\n\"b\\n\\u00e9\"\nc d"), ElementsAre("a", "b\né", "c d"));
  EXPECT_THAT(Ids(Flat(0), ""), IsEmpty());
  // Line i is of FAISS's id i, wherever its row stands.
  EXPECT_THAT(Ids(Mapped(Flat(3), {4, 0, 2}), "zero\none\ntwo\nthree\nfour\nfive\n"),
              ElementsAre("zero", "two", "four"));
  EXPECT_THAT(Ids(Flat(2), "\"open\nb\n"), ElementsAre(HasSubstr("no JSON string"), "b"));
  EXPECT_THAT(Ids(Flat(2), std::string(70'000, 'x') + "\nb\n"),
              ElementsAre(HasSubstr("more than 65536 bytes"), "b"));
  EXPECT_THAT(Ids(Flat(3), "a\nb\n"), ElementsAre(HasSubstr("2 ids for 3 rows")));
  EXPECT_THAT(Ids(Flat(2), "a\nb\nc\n"), ElementsAre(HasSubstr("3 ids for 2 rows")));
  EXPECT_THAT(Ids(Mapped(Flat(2), {5, 1}), "0\n1\n2\n3\n4\n"),
              ElementsAre(HasSubstr("are 1 to 5")));
  EXPECT_THAT(Ids(Mapped(Flat(2), {-5, 1}), "0\n1\n"), ElementsAre(HasSubstr("are -5 to 1")));
}

TEST_F(FaissReaderTest, WithoutIdsFaissIdsAreTaken) {
  std::ofstream(path_, std::ios::binary) << Mapped(Flat(2), {-5, 1234567890123});
  const auto records = NewFaissReader(path_, "", &stop_);
  ASSERT_TRUE(records.ok()) << records.status().ToString();
  EXPECT_EQ(records->reader->dimension(), kD);
  EXPECT_EQ(records->bytes, 2 * kD * 4);
  EXPECT_STREQ(records->reader->unit(), "row");
  Record record;
  ASSERT_TRUE(records->reader->Next(&record));
  EXPECT_EQ(record.document.id, "-5");
  EXPECT_EQ(record.line, 0);
  EXPECT_EQ(record.document.vector, Rows(0, 1));
  ASSERT_TRUE(records->reader->Next(&record));
  EXPECT_EQ(record.document.id, "1234567890123");
  EXPECT_FALSE(records->reader->Next(&record));
  EXPECT_TRUE(records->reader->status().ok());
}

}  // namespace
}  // namespace vecino::cli
