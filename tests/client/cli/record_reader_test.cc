#include "client/cli/record_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace vecino::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RecordReaderTest : public ::testing::Test {
 protected:
  RecordReaderTest()
      : path_(::testing::TempDir() + "record_reader_test_" + std::to_string(getpid())) {}
  ~RecordReaderTest() override {
    std::filesystem::remove(path_);
    std::filesystem::remove(path_ + ".ids");
  }

  std::unique_ptr<Input> Write(const std::string& content) {
    std::ofstream(path_, std::ios::binary) << content;
    return Input::Open(path_, &stop_).value();
  }

  std::vector<Record> ReadAll(RecordReader& reader) {
    std::vector<Record> records;
    for (Record record; reader.Next(&record);) records.push_back(record);
    return records;
  }

  std::vector<Record> Jsonl(const std::string& content) {
    return ReadAll(*NewJsonlReader(Write(content)));
  }
  std::vector<Record> Csv(const std::string& content, const CsvOptions& options = {}) {
    return ReadAll(**NewCsvReader(Write(content), options));
  }
  Status CsvError(const std::string& content, const CsvOptions& options = {}) {
    return NewCsvReader(Write(content), options).status();
  }

  std::atomic<bool> stop_{false};
  const std::string path_;
};

TEST_F(RecordReaderTest, ExpiryOfRecords) {
  const auto records = Jsonl(
      "{\"id\": \"a\", \"ttl\": 90, \"etag\": \"1-2\"}\n"
      "{\"id\": \"b\", \"ttl\": \"1h\", \"expire_time\": null}\n"
      "{\"id\": \"c\", \"expire_time\": \"1970-01-01T00:00:05Z\"}");
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(records[0].error + records[1].error + records[2].error, "");
  EXPECT_EQ(records[0].document.ttl, std::chrono::seconds(90));
  EXPECT_EQ(records[0].document.etag, "");  // of a version that is not there
  EXPECT_EQ(records[1].document.ttl, std::chrono::hours(1));
  EXPECT_FALSE(records[1].document.expire_time.has_value());
  EXPECT_EQ(records[2].document.expire_time,
            std::chrono::system_clock::time_point(std::chrono::seconds(5)));
}

TEST_F(RecordReaderTest, JsonlTakesEveryKey) {
  const auto records = Jsonl(
      "\xEF\xBB\xBF{\"id\": \"a\", \"text\": \"x\\u00e9\", \"metadata\": {\"n\": 1, \"l\": [2]},"
      " \"vector\": [1, -2.5]}\r\n"
      "\n  \n"
      "{\"id\": 7, \"text\": null, \"version\": 3, \"create_time\": \"\", \"update_time\": \"\"}");
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].error, "");
  EXPECT_EQ(records[0].line, 1);
  EXPECT_EQ(records[0].document.id, "a");
  EXPECT_EQ(records[0].document.text, "xé");
  EXPECT_EQ(records[0].document.metadata_json, R"({"n":1,"l":[2]})");
  EXPECT_THAT(records[0].document.vector, ElementsAre(1, -2.5));
  EXPECT_EQ(records[1].error, "");
  EXPECT_EQ(records[1].line, 4);
  EXPECT_EQ(records[1].document.id, "7");
}

TEST_F(RecordReaderTest, JsonlTellsWhatIsWrongAndGoesOn) {
  const std::pair<std::string, const char*> kBad[] = {
      {R"({"id": "a")", "parse error"},
      {R"([1, 2])", "a JSON array, not an object"},
      {R"({"text": "x"})", "no id"},
      {R"({"id": 1.5})", "id is number"},
      {R"({"id": "a", "text": 5})", "text is number"},
      {R"({"id": "a", "metadata": [1]})", "metadata is array"},
      {R"({"id": "a", "vector": [1, NaN]})", "parse error"},
      {R"({"id": "a", "vector": [1, null]})", "vector[1] is null"},
      {R"({"id": "a", "vector": 3})", "must be an array"},
      {R"({"id": "a", "vector": []})", "vector is empty; leave it out"},
      {R"({"id": "a", "vector": [1, -1e39]})", "vector[1] is -1e+39, too large for a float"},
      {R"({"id": "a", "titel": "x"})", "unknown key 'titel'"},
      {R"({"id": "a", "ttl": "soon"})", "ttl: 'soon' is not a time span"},
      {R"({"id": "a", "ttl": [1]})", "ttl is array"},
      {R"({"id": "a", "expire_time": "tomorrow"})", "expire_time: 'tomorrow'"},
      {R"({"id": "a", "expire_time": 7})", "expire_time is number"},
      {"{\"id\": \"a\", \"text\": \"\xff\"}", "UTF-8"},
      {R"({"id": "1", "id": "2"})", "key 'id' stands twice"},
      {R"({"id": "a", "metadata": {"x": {"k": 1}, "y": [{"k": 2, "k": 3}]}})", "key 'k' stands"},
      {R"({"id": "a", "metadata": {"big": [12345678901234567]}})", "metadata.big[0] = 1234567"},
      {R"({"id": "a", "metadata": {"x": -9223372036854775808}})", "make it a string"},
      {"{\"id\": \"a\", \"metadata\": {\"x\": " + std::string(100'000, '[') + "}}",
       "nested deeper"},
      {std::string(kLongestRecord + 1, 'x'), "longer than 8.0 MiB"}};
  std::string content;
  for (const auto& [line, reason] : kBad) content += line + "\n{\"id\": \"good\"}\n";
  const auto records = Jsonl(content);
  ASSERT_EQ(records.size(), 2 * std::size(kBad));
  for (size_t i = 0; i < std::size(kBad); ++i) {
    EXPECT_THAT(records[2 * i].error, HasSubstr(kBad[i].second));
    EXPECT_THAT(records[2 * i].error, ::testing::Not(HasSubstr("json.exception")));
    EXPECT_EQ(records[2 * i].line, static_cast<int64_t>(2 * i + 1));
    EXPECT_EQ(records[2 * i + 1].error, "");
    EXPECT_EQ(records[2 * i + 1].document.id, "good");
  }
}

TEST_F(RecordReaderTest, CsvOfRfc4180) {
  const auto records =
      Csv("\xEF\xBB\xBFid,text,vector,lang,year\r\n"
          "a,\"said \"\"hi\"\", then\r\nleft\",,en,2020\r\n"
          "\r\n"
          "b,plain \"quotes\" inside,\"[1, 2]\",,\r\n"
          "c,\"\",,de,7",
          {.number_columns = {"year"}});
  ASSERT_EQ(records.size(), 3U);
  for (const Record& record : records) EXPECT_EQ(record.error, "");
  EXPECT_EQ(records[0].line, 2);
  EXPECT_EQ(records[0].document.text, "said \"hi\", then\r\nleft");
  EXPECT_EQ(records[0].document.metadata_json, R"({"lang":"en","year":2020.0})");
  EXPECT_EQ(records[1].line, 5);
  EXPECT_EQ(records[1].document.text, "plain \"quotes\" inside");
  EXPECT_THAT(records[1].document.vector, ElementsAre(1, 2));
  EXPECT_EQ(records[1].document.metadata_json, "");
  EXPECT_EQ(records[2].document.text, "");
  EXPECT_EQ(records[2].document.metadata_json, R"({"lang":"de","year":7.0})");
}

TEST_F(RecordReaderTest, CsvTellsWhatIsWrongAndGoesOn) {
  const auto records =
      Csv("id,text,n\n"
          "a,one\n"
          "b,\"two\"x,3\n"
          "c,three,many\n"
          "d,four,4\n"
          "e,\"never closed,5\n"
          "f,six,6\n"
          "g,\xff,7\n",
          {.number_columns = {"n"}});
  ASSERT_EQ(records.size(), 7U);
  EXPECT_THAT(records[0].error, HasSubstr("2 columns where the header has 3"));
  EXPECT_THAT(records[1].error, HasSubstr("column 2 goes on after its closing quote"));
  EXPECT_THAT(records[2].error, HasSubstr("column 'n' is 'many', not a number"));
  EXPECT_EQ(records[3].error, "");
  EXPECT_THAT(records[4].error, HasSubstr("never closed"));
  EXPECT_EQ(records[4].line, 6);
  EXPECT_EQ(records[5].error, "");
  EXPECT_EQ(records[5].line, 7);
  EXPECT_EQ(records[5].document.id, "f");
  EXPECT_EQ(records[6].line, 8);  // text that is not UTF-8 is the client's to refuse
}

TEST_F(RecordReaderTest, AStrayQuoteSwallowsNoLines) {
  const auto records = Csv("id,text\na,\"open\nb,\"good\"\nc,plain\n");
  ASSERT_EQ(records.size(), 3U);
  EXPECT_NE(records[0].error, "");
  EXPECT_EQ(records[0].line, 2);
  EXPECT_EQ(records[1].error, "");
  EXPECT_EQ(records[1].document.text, "good");
  EXPECT_EQ(records[1].line, 3);
  EXPECT_EQ(records[2].document.text, "plain");
}

TEST_F(RecordReaderTest, TooLongCsvRecordsAreSkippedToTheirEnd) {
  std::string inner;  // looks like records, over the limit
  while (inner.size() <= kLongestRecord) inner += "evil,\"\"text\"\"\n";
  const auto lines = std::count(inner.begin(), inner.end(), '\n');
  const std::string long_line(kLongestRecord + 5, 'x');
  const auto records =
      Csv("id,text\n"
          "a,\"" +
          inner +
          "end\"\n"
          "b,after many lines\n"
          "c,\"" +
          long_line + "\nevil,1\n" + long_line +
          "\nevil,2\"\n"
          "d,after lines too long themselves\n" +
          long_line +
          "\n"
          "e,\"" +
          long_line +
          "\"\n"
          "f,last\n");
  ASSERT_EQ(records.size(), 7U);
  EXPECT_THAT(records[0].error, HasSubstr("longer than 8.0 MiB: it ends in line"));
  EXPECT_THAT(records[0].error, testing::EndsWith(" " + std::to_string(lines + 2)));
  EXPECT_EQ(records[0].line, 2);
  EXPECT_EQ(records[1].document.id, "b");
  EXPECT_EQ(records[1].line, lines + 3);
  EXPECT_THAT(records[2].error, HasSubstr("it ends in line " + std::to_string(lines + 7)));
  EXPECT_EQ(records[2].line, lines + 4);
  EXPECT_EQ(records[3].document.id, "d");
  EXPECT_EQ(records[3].line, lines + 8);
  EXPECT_EQ(records[4].error, "longer than 8.0 MiB");
  EXPECT_EQ(records[5].error, "longer than 8.0 MiB");
  EXPECT_EQ(records[6].document.id, "f");
}

TEST_F(RecordReaderTest, TooLongCsvRecordThatNeverEndsIsToldOnce) {
  std::string content = "id,text\na,\"";
  for (int i = 0; i < 9'000; ++i) content += std::string(1'000, 'y') + "\n";
  const auto records = Csv(content + "z,last\n");
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].line, 2);
  EXPECT_THAT(records[0].error, HasSubstr("never closed"));
  EXPECT_THAT(records[0].error, HasSubstr("line 9002"));
}

TEST_F(RecordReaderTest, CsvRecordOfExactlyTheLimit) {
  const std::string rest = "a,\"\nxx\"";
  const auto records =
      Csv("id,text\na,\"\n" + std::string(kLongestRecord - rest.size() + 2, 'x') + "\"\nb,c\n");
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].error, "");
  EXPECT_EQ(records[0].document.text.size(), kLongestRecord - rest.size() + 3);
  EXPECT_EQ(records[1].document.id, "b");
}

TEST_F(RecordReaderTest, CsvHeaderMustFit) {
  EXPECT_THAT(CsvError("").message(), HasSubstr("no CSV header"));
  EXPECT_THAT(CsvError("name,text\n").message(), HasSubstr("no column 'id'"));
  EXPECT_THAT(CsvError("id,x,x\n").message(), HasSubstr("'x' twice"));
  EXPECT_THAT(CsvError("id\n", {.text_column = "body"}).message(), HasSubstr("no column 'body'"));
  EXPECT_THAT(CsvError("id\n", {.number_columns = {"n"}}).message(), HasSubstr("no column 'n'"));
  EXPECT_TRUE(CsvError("id\n").ok());
}

std::string Npy(const std::string& header, const std::string& data, int major = 1) {
  std::string padded = header;
  padded.append(63 - (padded.size() + 10) % 64, ' ');
  padded += '\n';
  std::string file("\x93NUMPY", 6);
  file += static_cast<char>(major);
  file += '\0';
  file += static_cast<char>(padded.size() & 0xFF);
  file += static_cast<char>(padded.size() >> 8);
  if (major > 1) file.append(2, '\0');
  return file + padded + data;
}

template <typename T>
std::string Raw(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

TEST_F(RecordReaderTest, NpyOfBothTypes) {
  auto reader =
      NewNpyReader(Write(Npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
                             Raw<float>({1, 2, 3, 4, 5, 6}))),
                   "", &stop_);
  ASSERT_TRUE(reader.ok()) << reader.status().ToString();
  auto records = ReadAll(**reader);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[1].document.id, "1");
  EXPECT_THAT(records[1].document.vector, ElementsAre(4, 5, 6));
  EXPECT_STREQ((*reader)->unit(), "row");

  std::ofstream(path_ + ".ids") << "first\r\nsecond";
  reader = NewNpyReader(Write(Npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1)}",
                                  Raw<double>({0.5, -4}), 2)),
                        path_ + ".ids", &stop_);
  ASSERT_TRUE(reader.ok()) << reader.status().ToString();
  records = ReadAll(**reader);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].document.id, "first");
  EXPECT_EQ(records[1].document.id, "second");
  EXPECT_THAT(records[1].document.vector, ElementsAre(-4));
}

TEST_F(RecordReaderTest, NpyThatDoesNotFit) {
  const auto error = [&](const std::string& content, const std::string& ids = "") {
    return NewNpyReader(Write(content), ids, &stop_).status().message();
  };
  EXPECT_THAT(error("PK\x03\x04 and so on"), HasSubstr("not a .npy file"));
  EXPECT_THAT(error(""), HasSubstr("not a .npy file"));
  EXPECT_THAT(error(Npy("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3)}", "")),
              HasSubstr("'>f4'"));
  EXPECT_THAT(error(Npy("{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3)}", "")),
              HasSubstr("float32 or float64"));
  EXPECT_THAT(error(Npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}", "")),
              HasSubstr("C order"));
  for (const char* shape : {"(6,)", "(2, 3, 1)", "()", "(2, 0)", "(-1, 3)", "(2 3)"}) {
    EXPECT_THAT(
        error(Npy("{'descr': '<f4', 'fortran_order': False, 'shape': " + std::string(shape) + ", }",
                  "")),
        HasSubstr("two dimensions"))
        << shape;
  }
  std::ofstream(path_ + ".ids") << "one\n";
  EXPECT_THAT(
      error(Npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", ""), path_ + ".ids"),
      HasSubstr("1 ids for 2 rows"));
}

TEST_F(RecordReaderTest, NpyCutShortSaysWhere) {
  auto reader = NewNpyReader(Write(Npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)}",
                                       Raw<float>({1, 2, 3}))),
                             "", &stop_);
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(ReadAll(**reader).size(), 1U);
  EXPECT_THAT((*reader)->status().message(), HasSubstr("ends in row 1 of 3"));
}

std::string Fvecs(int32_t dimension, const std::vector<float>& values) {
  return Raw<int32_t>({dimension}) + Raw(values);
}

TEST_F(RecordReaderTest, Fvecs) {
  const std::string two = Fvecs(3, {1, 2, 3}) + Fvecs(3, {4, 5, 6});
  auto reader = NewFvecsReader(Write(two), "", &stop_);
  ASSERT_TRUE(reader.ok()) << reader.status().ToString();
  EXPECT_EQ((*reader)->dimension(), 3);
  EXPECT_STREQ((*reader)->unit(), "row");
  auto records = ReadAll(**reader);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_TRUE((*reader)->status().ok());
  EXPECT_EQ(records[0].document.id, "0");
  EXPECT_EQ(records[1].line, 1);
  EXPECT_THAT(records[1].document.vector, ElementsAre(4, 5, 6));

  std::ofstream(path_ + ".ids") << "first\r\nsecond";
  reader = NewFvecsReader(Write(two), path_ + ".ids", &stop_);
  ASSERT_TRUE(reader.ok()) << reader.status().ToString();
  records = ReadAll(**reader);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].document.id, "first");
  EXPECT_EQ(records[1].document.id, "second");
}

TEST_F(RecordReaderTest, FvecsThatDoNotFit) {
  const auto error = [&](const std::string& content, const std::string& ids = "") {
    return NewFvecsReader(Write(content), ids, &stop_).status().message();
  };
  EXPECT_THAT(error(""), HasSubstr("empty"));
  EXPECT_THAT(error("abc"), HasSubstr("not an .fvecs file"));
  EXPECT_THAT(error(Fvecs(0, {})), HasSubstr("not an .fvecs file"));
  EXPECT_THAT(error(Fvecs(-3, {1})), HasSubstr("not an .fvecs file"));
  EXPECT_THAT(error("{\"id\": 1}"), HasSubstr("not an .fvecs file"));
  std::ofstream(path_ + ".ids") << "one\n";
  EXPECT_THAT(error(Fvecs(1, {1}) + Fvecs(1, {2}), path_ + ".ids"), HasSubstr("1 ids for 2 rows"));
  const auto end = [&](const std::string& content, size_t good) {
    auto reader = NewFvecsReader(Write(content), "", &stop_);
    EXPECT_TRUE(reader.ok());
    EXPECT_EQ(ReadAll(**reader).size(), good);
    Record again;
    EXPECT_FALSE((*reader)->Next(&again));
    return (*reader)->status().message();
  };
  EXPECT_THAT(end(Fvecs(2, {1}), 0), HasSubstr("ends in row 0"));
  EXPECT_THAT(end(Fvecs(1, {1}) + "ab", 1), HasSubstr("ends in row 1"));
  EXPECT_THAT(end(Fvecs(1, {1}) + Fvecs(2, {1, 2}), 1), HasSubstr("row 1 has 2 floats"));
}

TEST_F(RecordReaderTest, OpeningWhatIsNoFile) {
  EXPECT_THAT(Input::Open("/no/such/file", &stop_).status().message(), HasSubstr("cannot open"));
  EXPECT_THAT(Input::Open(::testing::TempDir(), &stop_).status().message(),
              HasSubstr("is a folder"));
}

TEST_F(RecordReaderTest, StopEndsTheReading) {
  const auto reader = NewJsonlReader(Write("{\"id\": \"a\"}\n"));
  stop_ = true;
  Record record;
  EXPECT_FALSE(reader->Next(&record));
  EXPECT_TRUE(reader->status().ok());
}

}  // namespace
}  // namespace vecino::cli
