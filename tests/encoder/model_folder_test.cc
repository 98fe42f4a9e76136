#include "encoder/model_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/encoder/model_fixture.h"

namespace vecino::encoder {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class ModelFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = NewTempDir();
    WriteTinyFolder(root_ / "tiny");
  }
  void TearDown() override { fs::remove_all(root_); }

  absl::Status ReadError(std::string_view name = "tiny") {
    return ReadModelFolder(root_, name).status();
  }

  // Changes the manifest and keeps its hashes right.
  void EditManifest(const std::function<void(json&)>& edit) {
    json manifest = json::parse(ReadAll(root_ / "tiny" / "manifest.json"));
    edit(manifest);
    WriteAll(root_ / "tiny" / "manifest.json", manifest.dump());
  }

  fs::path root_;
};

TEST_F(ModelFolderTest, ReadsAllOfTheManifest) {
  const auto folder = ReadModelFolder(root_, "tiny");
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->info.name, "tiny");
  EXPECT_EQ(folder->info.dimension, 2);
  EXPECT_EQ(folder->info.max_tokens, 16);
  EXPECT_EQ(folder->info.pooling, "mean");
  EXPECT_TRUE(folder->info.normalize);
  EXPECT_EQ(folder->info.precision, "fp32");
  ASSERT_THAT(folder->info.prompts, SizeIs(2));
  EXPECT_EQ(folder->info.prompts.at("query").text, "q: ");
  EXPECT_EQ(folder->info.prompts.at("document").text, "");
  EXPECT_THAT(folder->info.hash, SizeIs(64));
  EXPECT_EQ(json::parse(folder->tokenizer),
            json::parse(ReadAll(root_ / "tiny" / "manifest.json"))["tokenizer"]);
  EXPECT_EQ(folder->vocab_size, 6);
  EXPECT_EQ(folder->module_bytes, "no TorchScript");
  EXPECT_THAT(folder->vocabulary, HasSubstr("[MASK]\na\n"));
  ASSERT_THAT(folder->golden, SizeIs(1));
  EXPECT_EQ(folder->golden[0].text, "a");
  EXPECT_THAT(folder->golden[0].ids, ElementsAre(2, 5, 3));
  EXPECT_THAT(folder->golden[0].vector, ElementsAre(0.6f, 0.8f));
}

TEST_F(ModelFolderTest, HashNamesTheManifest) {
  const std::string before = ReadModelFolder(root_, "tiny")->info.hash;
  EditManifest([](json& manifest) { manifest["prompts"]["query"] = "other"; });
  EXPECT_NE(ReadModelFolder(root_, "tiny")->info.hash, before);
}

TEST_F(ModelFolderTest, ReadsPromptsOfAllNames) {
  const std::string good = ReadAll(root_ / "tiny" / "manifest.json");
  const auto set = [&](const json& prompts) {
    WriteAll(root_ / "tiny" / "manifest.json", good);
    EditManifest([&](json& manifest) { manifest["prompts"].update(prompts); });
  };
  json most = {{"clustering", "cluster: "}, {std::string(64, 'n'), std::string(4096, 'x')}};
  while (most.size() < 62) most[std::to_string(most.size())] = "";
  set(most);
  const auto folder = ReadModelFolder(root_, "tiny");
  ASSERT_TRUE(folder.ok()) << folder.status();
  ASSERT_THAT(folder->info.prompts, SizeIs(64));
  EXPECT_EQ(folder->info.prompts.at("query").text, "q: ");
  EXPECT_EQ(folder->info.prompts.at("clustering").text, "cluster: ");
  EXPECT_THAT(folder->info.prompts.at(std::string(64, 'n')).text, SizeIs(4096));
  most["one more"] = "";
  for (const auto& [prompts, why] : {std::pair<json, const char*>{most, "has 65 names"},
                                     {{{"", "x"}}, "a name of 0 bytes"},
                                     {{{std::string(65, 'n'), "x"}}, "a name of 65 bytes"},
                                     {{{"long", std::string(4097, 'x')}}, "a text of 4097"},
                                     {{{"number", 1}}, "must be string"},
                                     {{{"query", nullptr}}, "must be string"}}) {
    set(prompts);
    EXPECT_EQ(ReadError().code(), absl::StatusCode::kDataLoss) << why;
    EXPECT_THAT(std::string(ReadError().message()), HasSubstr(why));
  }
  for (const char* name : {"query", "document"}) {
    WriteAll(root_ / "tiny" / "manifest.json", good);
    EditManifest([&](json& manifest) { manifest["prompts"].erase(name); });
    EXPECT_EQ(ReadError().code(), absl::StatusCode::kDataLoss) << name;
  }
}

TEST_F(ModelFolderTest, FewerDimensionsAscendBelowTheModels) {
  EXPECT_THAT(ReadModelFolder(root_, "tiny")->info.matryoshka, testing::IsEmpty());
  EditManifest([](json& manifest) { manifest["matryoshka"] = {1}; });
  EXPECT_THAT(ReadModelFolder(root_, "tiny")->info.matryoshka, ElementsAre(1));
  for (const json& bad : {json{2}, json{0}, json{1, 1}, json{"1"}, json(1)}) {
    EditManifest([&](json& manifest) { manifest["matryoshka"] = bad; });
    EXPECT_EQ(ReadError().code(), absl::StatusCode::kDataLoss) << bad;
  }
}

TEST_F(ModelFolderTest, RefusesManifestsThatAreTooDeep) {
  std::string text = ReadAll(root_ / "tiny" / "manifest.json");
  const std::string at = "\"clean_text\"";
  ASSERT_NE(text.find(at), std::string::npos);
  text.insert(text.find(at),
              "\"x\": " + std::string(400'000, '[') + std::string(400'000, ']') + ",");
  WriteAll(root_ / "tiny" / "manifest.json", text);
  EXPECT_EQ(ReadError().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(ReadError().message()), HasSubstr("levels deep"));
}

TEST_F(ModelFolderTest, RefusesEveryTamperedFile) {
  for (const char* file : {"model.pt", "vocab.txt", "golden.json"}) {
    const fs::path path = root_ / "tiny" / file;
    const std::string good = ReadAll(path);
    std::string bad = good;
    bad[bad.size() / 2] ^= 1;
    for (const std::string& bytes : {bad, good + " ", good.substr(1), std::string()}) {
      WriteAll(path, bytes);
      const absl::Status status = ReadError();
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(file));
    }
    WriteAll(path, good);
  }
  EXPECT_TRUE(ReadError().ok());
}

TEST_F(ModelFolderTest, RefusesMissingFiles) {
  for (const char* file : {"model.pt", "vocab.txt", "golden.json", "manifest.json"}) {
    fs::rename(root_ / "tiny" / file, root_ / "aside");
    const absl::Status status = ReadError();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(file));
    fs::rename(root_ / "aside", root_ / "tiny" / file);
  }
}

TEST_F(ModelFolderTest, RefusesWrongHashInManifest) {
  EditManifest(
      [](json& manifest) { manifest["files"]["vocab.txt"]["sha256"] = std::string(64, '0'); });
  const absl::Status status = ReadError();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("SHA-256"));
}

TEST_F(ModelFolderTest, RefusesWhatThisVersionDoesNotKnow) {
  const std::string good = ReadAll(root_ / "tiny" / "manifest.json");
  for (const auto& [pointer, value] : {std::pair<const char*, json>{"/format_version", 3},
                                       {"/architecture", "t5"},
                                       {"/pooling", "max"},
                                       {"/precision", "int3"},
                                       {"/tokenizer/type", "words"}}) {
    EditManifest([&](json& manifest) { manifest[json::json_pointer(pointer)] = value; });
    EXPECT_EQ(ReadError().code(), absl::StatusCode::kUnimplemented) << pointer << ReadError();
    WriteAll(root_ / "tiny" / "manifest.json", good);
  }
}

TEST_F(ModelFolderTest, ReadsRerankers) {
  const auto make = [&](json changes) {
    WriteAll(root_ / "tiny" / "golden.json",
             R"({"pairs": [{"query": "a", "text": "", "ids": [2, 5, 3, 3], "types": [0, 0, 0, 1],
                            "logit": -1.5, "score": 0.18}]})");
    EditManifest([&](json& manifest) {
      for (const char* name : {"dimension", "pooling", "normalize", "prompts"})
        manifest.erase(name);
      manifest.update({{"format_version", 2},
                       {"task", "rerank"},
                       {"activation", "sigmoid"},
                       {"token_types", 2}});
      manifest.update(changes);
      for (auto& [key, value] : changes.items()) {
        if (value.is_null()) manifest.erase(key);
      }
    });
  };
  make(json::object());
  UpdateManifest(root_ / "tiny", json::parse(ReadAll(root_ / "tiny" / "manifest.json")));
  const auto folder = ReadModelFolder(root_, "tiny");
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->info.task, Task::kRerank);
  EXPECT_EQ(folder->info.activation, "sigmoid");
  EXPECT_EQ(folder->info.dimension, 0);
  EXPECT_EQ(folder->token_types, 2);
  EXPECT_TRUE(folder->golden.empty());
  ASSERT_EQ(folder->pairs.size(), 1u);
  EXPECT_EQ(folder->pairs[0].query, "a");
  EXPECT_EQ(folder->pairs[0].ids, (std::vector<int32_t>{2, 5, 3, 3}));
  EXPECT_EQ(folder->pairs[0].types, (std::vector<int32_t>{0, 0, 0, 1}));
  EXPECT_EQ(folder->pairs[0].logit, -1.5f);
  for (const auto& [changes, code] :
       {std::pair{json{{"task", "chat"}}, absl::StatusCode::kUnimplemented},
        {json{{"activation", "tanh"}}, absl::StatusCode::kUnimplemented},
        {json{{"activation", nullptr}}, absl::StatusCode::kDataLoss},
        {json{{"token_types", 3}}, absl::StatusCode::kDataLoss},
        {json{{"max_tokens", 4}}, absl::StatusCode::kDataLoss}}) {
    make({{"activation", "sigmoid"}, {"task", "rerank"}, {"token_types", 2}, {"max_tokens", 16}});
    make(changes);
    EXPECT_EQ(ReadError().code(), code) << changes << ReadError();
  }
}

TEST_F(ModelFolderTest, RefusesDamagedManifests) {
  const std::string good = ReadAll(root_ / "tiny" / "manifest.json");
  for (const std::string& bytes :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"),
        std::string("{\"format_version\": \"one\"}"), good.substr(0, good.size() / 2),
        std::string(2 << 20, ' ')}) {
    WriteAll(root_ / "tiny" / "manifest.json", bytes);
    EXPECT_EQ(ReadError().code(), absl::StatusCode::kDataLoss) << bytes.substr(0, 40);
  }
  WriteAll(root_ / "tiny" / "manifest.json", good);
  for (const auto& [key, value] : {std::pair<const char*, json>{"dimension", 0},
                                   {"dimension", -1},
                                   {"dimension", int64_t{1} << 40},
                                   {"dimension", "two"},
                                   {"dimension", 3},  // golden vectors have 2
                                   {"max_tokens", 1},
                                   {"vocab_size", 0},
                                   {"normalize", 1},
                                   {"prompts", nullptr},
                                   {"files", json::object()}}) {
    EditManifest([&](json& manifest) { manifest[key] = value; });
    EXPECT_EQ(ReadError().code(), absl::StatusCode::kDataLoss) << key << value;
    WriteAll(root_ / "tiny" / "manifest.json", good);
  }
}

TEST_F(ModelFolderTest, RefusesNamesThatArePaths) {
  WriteTinyFolder(root_ / "tiny" / "inner");
  fs::create_directory_symlink(root_ / "tiny", root_ / ".hidden");
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("../tiny"),
        std::string("tiny/inner"), std::string("/etc"), (root_ / "tiny").string(),
        std::string("tiny/"), std::string("tiny\0x", 6), std::string(".hidden"), std::string("-x"),
        std::string("tiny\\inner"), std::string("t\xC3\xADny"), std::string(129, 'a')}) {
    EXPECT_EQ(ReadError(name).code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(ReadError("other").code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(IsModelName("all-MiniLM-L6-v2"));
  EXPECT_TRUE(IsModelName(std::string(128, 'a')));
}

TEST_F(ModelFolderTest, ListsOnlyFoldersWithAManifest) {
  WriteTinyFolder(root_ / "Another_1.0");
  WriteTinyFolder(root_ / ".tiny.half-written");
  WriteTinyFolder(root_ / "with space");
  fs::create_directory(root_ / "empty");
  WriteAll(root_ / "file", "");
  const auto names = ListModelFolders(root_);
  ASSERT_TRUE(names.ok()) << names.status();
  EXPECT_THAT(*names, ElementsAre("Another_1.0", "tiny"));
  EXPECT_EQ(ListModelFolders(root_ / "none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ListModelFolders(root_ / "file").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace vecino::encoder
