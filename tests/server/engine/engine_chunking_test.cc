// Collections whose documents are split into passages.
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "server/engine/chunking.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The fake encoder counts bytes.
class EngineChunkingTest : public EngineTest {
 protected:
  void SetUp() override {
    encoder_.models[0].max_tokens = 64;
    EngineTest::SetUp();
    CreateChunked("c", {.max_tokens = 32, .overlap_tokens = 0});
  }

  absl::StatusOr<CollectionInfo> TryCreate(const std::string& id, Chunking chunking,
                                           const std::string& model = "fake") {
    CollectionSpec spec;
    spec.id = id;
    spec.model = model;
    if (model.empty()) spec.dimension = kDimension;
    spec.chunking = chunking;
    return engine_->CreateCollection(spec, false);
  }
  void CreateChunked(const std::string& id, Chunking chunking) {
    const auto info = TryCreate(id, chunking);
    ASSERT_TRUE(info.ok()) << info.status();
  }

  // Sentences of 32 bytes, so one a passage.
  static std::string Sentence(const std::string& word) {
    std::string sentence = absl::StrCat("S ", word, " ");
    sentence.append(30 - sentence.size(), 'x');
    return sentence + ". ";
  }
  static std::string Sentences(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += Sentence(word);
    return text;
  }

  SearchResult Search(const SearchRequest& request, const std::string& collection = "c") {
    auto result = engine_->Search(collection, request, {});
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : SearchResult();
  }
  storage::Document Get(const std::string& id, const storage::DocumentParts& parts) {
    auto found = engine_->Get("c", {&id, 1}, parts, kNoLimit);
    EXPECT_TRUE(found.ok() && found->front().has_value()) << id;
    return found.ok() && found->front().has_value() ? *found->front() : storage::Document();
  }
};

TEST_F(EngineChunkingTest, TheDefinitionIsCheckedFilledInAndKept) {
  EXPECT_EQ(FieldOf(TryCreate("no", {}, "").status()), "collection.chunking");
  for (const int tokens : {-1, 1, 15, 65}) {
    EXPECT_EQ(FieldOf(TryCreate("no", {.max_tokens = tokens}).status()),
              "collection.chunking.max_tokens")
        << tokens;
  }
  for (const int overlap : {-2, 10, 16}) {
    EXPECT_EQ(FieldOf(TryCreate("no", {.max_tokens = 20, .overlap_tokens = overlap}).status()),
              "collection.chunking.overlap_tokens")
        << overlap;
  }
  const auto all = TryCreate("all", {});
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->spec.chunking->max_tokens, 64);
  EXPECT_EQ(all->spec.chunking->overlap_tokens, 31);
  EXPECT_EQ(
      TryCreate("none", {.max_tokens = 64, .overlap_tokens = 0})->spec.chunking->overlap_tokens, 0);
  Reopen();
  EXPECT_EQ(engine_->GetCollection("all")->spec.chunking->max_tokens, 64);
  EXPECT_EQ(engine_->GetCollection("none")->spec.chunking->overlap_tokens, 0);
}

TEST_F(EngineChunkingTest, TheModelsOwnTokensCount) {
  encoder_.models[0].prompts["document"].tokens = 30;
  EXPECT_EQ(FieldOf(TryCreate("no", {.max_tokens = 37}).status()),
            "collection.chunking.max_tokens");
  CreateChunked("c2", {.max_tokens = 62, .overlap_tokens = 0});
  const auto results = Upsert("c2", {Text("a", Sentences({"one", "two"}))});
  ASSERT_TRUE(results[0].status.ok());
  EXPECT_EQ(encoder_.embedded, 2);
}

TEST_F(EngineChunkingTest, ASearchFindsTheDocumentByItsBestPassage) {
  int calls = 0;
  encoder_.before_embed = [&] { ++calls; };
  const std::string text = Sentences({"one", "two", "tri"});
  const auto results =
      Upsert("c", {Text("a", text), Text("b", Sentence("two")), Text("empty", "")});
  for (const WriteResult& result : results) ASSERT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(encoder_.embedded, 4);
  EXPECT_EQ(results[0].token_count, 96);
  EXPECT_FALSE(results[0].truncated);

  for (int i = 0; i < 3; ++i) {
    const SearchResult found =
        Search({.query = TextQuery{text.substr(static_cast<size_t>(i) * 32, 32)}, .top_k = 1});
    ASSERT_EQ(found.hits.size(), 1u);
    if (i != 1) {
      EXPECT_EQ(found.hits[0].document.id, "a");
    }
    EXPECT_NEAR(found.hits[0].score, 1, 1e-5);
    ASSERT_TRUE(found.hits[0].passage.has_value());
    if (found.hits[0].document.id == "a") {
      EXPECT_EQ(found.hits[0].passage->index, i);
      EXPECT_EQ(found.hits[0].passage->range.begin, static_cast<uint32_t>(i) * 32);
      EXPECT_EQ(found.hits[0].passage->range.end, static_cast<uint32_t>(i) * 32 + 32);
    }
    EXPECT_EQ(found.hits[0].passage->text, text.substr(static_cast<size_t>(i) * 32, 32));
    EXPECT_TRUE(found.hits[0].document.passages.empty());  // nobody asked
  }
  // Offsets only when no text is returned.
  SearchRequest request{.query = TextQuery{Sentence("tri")}, .top_k = 1};
  request.parts = {.text = false, .metadata = false};
  const SearchResult heads = Search(request);
  EXPECT_EQ(heads.hits[0].document.text, "");
  EXPECT_EQ(heads.hits[0].passage->text, "");
  EXPECT_EQ(heads.hits[0].passage->range, (storage::Passage{64, 96}));
  // In other collections there is none.
  Create("plain");
  Put("plain", "a", "text");
  EXPECT_FALSE(Search({.query = TextQuery{"text"}}, "plain").hits[0].passage.has_value());
}

TEST_F(EngineChunkingTest, AsManyDocumentsAsWereAskedFor) {
  std::vector<std::string> words(100);
  for (int i = 0; i < 100; ++i) words[static_cast<size_t>(i)] = absl::StrCat("w", i);
  for (int i = 0; i < 20; ++i) {
    DocumentWrite write = Text(absl::StrCat("d", i), Sentences(words));
    write.document.metadata = absl::StrCat("{\"n\":", i, "}");
    ASSERT_TRUE(Upsert("c", {write})[0].status.ok());
  }
  const SearchResult all = Search({.query = TextQuery{Sentence("w7")}, .top_k = 1000});
  EXPECT_EQ(all.hits.size(), 20u);
  for (const SearchHit& hit : all.hits) EXPECT_EQ(hit.passage->index, 7);
  EXPECT_EQ(
      Find("c", {.query = TextQuery{Sentence("w7")}, .top_k = 10, .filter = "n >= 15"}).size(), 5u);
  EXPECT_EQ(*engine_->Count("c", "n >= 15"), 5);
  // Pages hold each document once.
  std::set<std::string> ids;
  SearchRequest request{.query = TextQuery{Sentence("w3")}, .top_k = 6};
  for (int page = 0; page < 4; ++page) {
    const SearchResult result = Search(request);
    for (const SearchHit& hit : result.hits) EXPECT_TRUE(ids.insert(hit.document.id).second);
    request.after = result.next;
    if (!result.next.has_value()) break;
  }
  EXPECT_EQ(ids.size(), 20u);
  for (int i = 0; i < 19; ++i) EXPECT_TRUE(Delete("c", absl::StrCat("d", i)).status.ok());
  EXPECT_THAT(FindText("c", Sentence("w7")), ElementsAre("d19"));
  Put("c", "d19", Sentence("other"));
  const SearchResult last = Search({.query = TextQuery{Sentence("w7")}});
  ASSERT_EQ(last.hits.size(), 1u);
  EXPECT_LT(last.hits[0].score, 0.99);
}

TEST_F(EngineChunkingTest, EstimatesCountPassages) {
  encoder_.AddModel("other", 6, "hash-2");
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(Put("c", absl::StrCat("d", i), Sentences({"one", "two", "tri"})).status.ok());
  }
  ASSERT_TRUE(Put("c", "d0", Sentence("one")).status.ok());
  EXPECT_EQ(engine_->EstimateOperation("c", Operation::Type::kRetrain, {})->rows, 28);
  EXPECT_EQ(engine_->EstimateTuning("c", {}, {})->rows, 28);
  const auto migration = engine_->EstimateMigration("c", {.model = "other"}, {});
  ASSERT_TRUE(migration.ok()) << migration.status();
  EXPECT_EQ(migration->rows, 28);
}

TEST_F(EngineChunkingTest, WritesThatLeaveTheTextKeepThePassages) {
  const std::string text = Sentences({"one", "two", "tri"});
  ASSERT_TRUE(Put("c", "a", text).status.ok());
  const int64_t embedded = encoder_.embedded;
  const auto modified =
      engine_->Modify("c", "a",
                      [](const storage::Document* current) -> absl::StatusOr<DocumentWrite> {
                        DocumentWrite next;
                        next.document = *current;
                        next.document.metadata = "{\"n\":1}";
                        next.vector_as_stored = true;
                        return next;
                      },
                      Truncate::kAuto, {});
  ASSERT_TRUE(modified.ok()) << modified.status();
  ASSERT_TRUE(modified->status.ok()) << modified->status;
  EXPECT_EQ(encoder_.embedded, embedded);
  for (const bool reopened : {false, true}) {
    if (reopened) Reopen();
    const SearchResult found = Search({.query = TextQuery{Sentence("two")}, .filter = "n = 1"});
    ASSERT_EQ(found.hits.size(), 1u);
    EXPECT_NEAR(found.hits[0].score, 1, 1e-5);
    EXPECT_EQ(found.hits[0].passage->index, 1);
  }
  const auto changed = engine_->ChangeDocuments(
      "c", "n = 1", [](const std::string&) { return absl::StatusOr<std::string>("{\"n\":2}"); });
  ASSERT_TRUE(changed.ok()) << changed.status();
  while (!engine_->GetOperation("c", changed->id)->done) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(Search({.query = TextQuery{Sentence("tri")}, .filter = "n = 2"}).hits[0].passage->index,
            2);
}

TEST_F(EngineChunkingTest, ReadsGiveThePassagesWhereTheyAreAskedFor) {
  const std::string text = Sentences({"one", "two"});
  Put("c", "a", text);
  DocumentWrite own = Vector("own", FakeEncoder::VectorOf("v", kDimension));
  own.document.text = text;
  own.document.passages = {{0, 1}, {1, 2}};  // callers cannot say that
  Upsert("c", {own, Text("none", "")});
  EXPECT_TRUE(Get("a", {}).passages.empty());
  EXPECT_THAT(Get("a", {.passages = true}).passages,
              ElementsAre(storage::Passage{0, 32}, storage::Passage{32, 64}));
  EXPECT_EQ(Get("a", {.vector = true}).vector.size(), 2u * kDimension);
  EXPECT_EQ(Get("a", {.vector = true}).passages.size(), 2u);
  EXPECT_THAT(Get("own", {.passages = true}).passages, ElementsAre(storage::Passage{0, 64}));
  EXPECT_EQ(Get("own", {.vector = true}).vector.size(), 1u * kDimension);
  EXPECT_TRUE(Get("none", {.vector = true, .passages = true}).passages.empty());
  const SearchResult found =
      Search({.query = VectorQuery{FakeEncoder::VectorOf("v", kDimension)}, .top_k = 1});
  EXPECT_EQ(found.hits[0].document.id, "own");
  EXPECT_EQ(found.hits[0].passage->range, (storage::Passage{0, 64}));
}

TEST_F(EngineChunkingTest, ADocumentAsQueryIsTheMeanOfItsPassages) {
  Put("c", "a", Sentences({"one", "two"}));
  Put("c", "b", Sentence("one"));
  const std::vector<float> vectors = Get("a", {.vector = true}).vector;
  const std::vector<float> mean = MeanVector(kDimension, vectors);
  const SearchResult by_id = Search({.query = DocumentQuery{"a"}});
  const SearchResult by_mean = Search({.query = VectorQuery{mean}});
  ASSERT_EQ(by_id.hits.size(), 1u);
  EXPECT_EQ(by_id.hits[0].document.id, "b");
  for (const SearchHit& hit : by_mean.hits) {
    if (hit.document.id == "b") {
      EXPECT_NEAR(hit.score, by_id.hits[0].score, 1e-5);
    }
  }
  ExpressionQuery expression;
  expression.terms.push_back({DocumentQuery{"a"}, 1});
  EXPECT_NEAR(Search({.query = expression}).hits[0].score, by_id.hits[0].score, 1e-5);
}

TEST_F(EngineChunkingTest, WordsAndMeaningTogether) {
  Put("c", "a", Sentences({"apple", "banana", "cherry banana"}));
  Put("c", "b", Sentence("durian"));
  const SearchResult words = Search({.query = LexicalQuery{"cherry bananas"}});
  ASSERT_EQ(words.hits.size(), 1u);
  ASSERT_TRUE(words.hits[0].passage.has_value());
  EXPECT_EQ(words.hits[0].passage->index, 2);
  SearchRequest heads{.query = LexicalQuery{"banana"}};
  heads.parts = {.text = false, .metadata = false};
  EXPECT_FALSE(Search(heads).hits[0].passage.has_value());

  HybridQuery query{TextQuery{Sentence("banana")}, "cherry", {}};
  const SearchResult both = Search({.query = query});
  ASSERT_EQ(both.hits.size(), 2u);
  EXPECT_EQ(both.hits[0].document.id, "a");
  EXPECT_EQ(both.hits[0].passage->index, 1);  // that of the meaning
  query.fusion.dense_weight = 0;
  const SearchResult lexical = Search({.query = query});
  ASSERT_EQ(lexical.hits.size(), 1u);
  EXPECT_EQ(lexical.hits[0].passage->index, 2);
}

TEST_F(EngineChunkingTest, GroupsAndDiversity) {
  for (int i = 0; i < 6; ++i) {
    DocumentWrite write = Text(absl::StrCat("d", i), Sentences({"same", absl::StrCat("own", i)}));
    write.document.metadata = absl::StrCat("{\"g\":", i % 2, "}");
    Upsert("c", {write});
  }
  const SearchResult grouped =
      Search({.query = TextQuery{Sentence("same")}, .top_k = 2, .group_by = GroupBy{"g", 2}});
  ASSERT_EQ(grouped.hits.size(), 4u);
  for (const SearchHit& hit : grouped.hits) EXPECT_EQ(hit.passage->index, 0);
  const SearchResult diverse =
      Search({.query = TextQuery{Sentence("same")}, .top_k = 3, .diversify = Diversify{}});
  ASSERT_EQ(diverse.hits.size(), 3u);
  EXPECT_EQ(diverse.hits[0].passage->index, 0);

  // Words alone find documents, not passages: they are told apart by the means of these.
  HybridQuery words{TextQuery{Sentence("same")}, "same", {}};
  words.fusion.dense_weight = 0;
  const SearchResult by_words = Search({.query = words, .top_k = 3, .diversify = Diversify{}});
  ASSERT_EQ(by_words.hits.size(), 3u);
  EXPECT_EQ(by_words.hits[0].document.id, Search({.query = words, .top_k = 1}).hits[0].document.id);
}

TEST_F(EngineChunkingTest, TooManyPassagesAreTheDocumentsOwnFault) {
  std::string text;
  for (int i = 0; i <= 4096; ++i) text += Sentence(absl::StrCat("n", i));
  const auto results = Upsert("c", {Text("a", "Good."), Text("b", text)});
  EXPECT_TRUE(results[0].status.ok());
  EXPECT_EQ(results[1].status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(results[1].status), "documents[1].text");
  EXPECT_THAT(results[1].status.message(), HasSubstr("more than 4096 passages"));
  text.resize(4096 * 32);
  EXPECT_TRUE(Put("c", "b", text).status.ok());
  EXPECT_EQ(FindText("c", Sentence("n4095"), 1), std::vector<std::string>{"b"});
}

TEST_F(EngineChunkingTest, ACallMakesNoMoreVectorsThanThereIsRoomFor) {
  options_.call_vector_bytes = 4 * kDimension * sizeof(float);
  Reopen();
  const auto results = Upsert("c", {Text("a", Sentences({"one", "two", "tri"})),
                                    Text("b", Sentences({"x", "y"})), Text("d", Sentence("z"))});
  EXPECT_TRUE(results[0].status.ok()) << results[0].status;
  EXPECT_EQ(results[1].status.code(), absl::StatusCode::kResourceExhausted) << results[1].status;
  EXPECT_THAT(std::string(results[1].status.message()), HasSubstr("send fewer documents"));
  EXPECT_TRUE(results[2].status.ok()) << results[2].status;
  // One alone may be longer.
  EXPECT_TRUE(Put("c", "b", Sentences({"1", "2", "3", "4", "5", "6"})).status.ok());
}

// A stream's items may be prepared again after the encoder failed between two of its calls.
TEST_F(EngineChunkingTest, StreamsSplitToo) {
  const auto stream = engine_->OpenIngest("c", "t", Truncate::kAuto);
  ASSERT_TRUE(stream.ok());
  std::vector<IngestWrite> writes(1);
  writes[0].item = 1;
  writes[0].write = Text("a", Sentences({"one", "two"}));
  encoder_.fail = absl::ResourceExhaustedError("full");
  EXPECT_FALSE((*stream)->Prepare(absl::MakeSpan(writes), {}).ok());
  encoder_.fail = absl::OkStatus();
  ASSERT_TRUE((*stream)->Prepare(absl::MakeSpan(writes), {}).ok());
  ASSERT_TRUE((*stream)->Commit(absl::MakeSpan(writes), 0, {}).ok());
  EXPECT_TRUE(writes[0].result.status.ok()) << writes[0].result.status;
  EXPECT_EQ(Search({.query = TextQuery{Sentence("two")}}).hits[0].passage->index, 1);
}

}  // namespace
}  // namespace vecino::engine
