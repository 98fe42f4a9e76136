// Aliases as callers see them, and that they can stand wherever a collection is named.
#include "server/rpc/alias_handlers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/rpc/alias_names.h"
#include "server/rpc/methods.h"
#include "server/rpc/worker_pool.h"
#include "tests/server/rpc/handlers_fixture.h"

namespace vecino::rpc {
namespace {

using testing::HasSubstr;

class AliasHandlersTest : public HandlersTest {
 protected:
  AliasHandlersTest() {
    engine_.collections = {Info("real")};
    engine_.aliases = {{.id = "x", .target = "real"}};
  }

  AliasHandlers aliases_{&engine_};
};

TEST_F(AliasHandlersTest, CreateGoesThereAndBack) {
  v1::CreateAliasRequest request;
  request.set_alias_id("y");
  v1::CreateAliasResponse response;
  ExpectField(aliases_.CreateAlias(request, &response, context_), "alias");
  request.mutable_alias()->set_target("real");
  ExpectField(aliases_.CreateAlias(request, &response, context_), "alias.target");
  request.mutable_alias()->set_target("collections/real");
  request.mutable_alias()->set_name("aliases/z");
  ExpectField(aliases_.CreateAlias(request, &response, context_), "alias.name");
  request.mutable_alias()->set_name("aliases/y");
  ASSERT_TRUE(aliases_.CreateAlias(request, &response, context_).ok());
  EXPECT_EQ(response.alias().name(), "aliases/y");
  EXPECT_EQ(response.alias().target(), "collections/real");
  EXPECT_TRUE(response.alias().has_create_time() && response.alias().has_update_time());
  EXPECT_EQ(engine_.alias_update.target, "real");
  request.set_alias_id("Y");
  ExpectField(aliases_.CreateAlias(request, &response, context_), "alias_id");
}

TEST_F(AliasHandlersTest, UpdateTakesAnExpectedTarget) {
  v1::UpdateAliasRequest request;
  v1::UpdateAliasResponse response;
  ExpectField(aliases_.UpdateAlias(request, &response, context_), "alias");
  request.mutable_alias()->set_name("x");
  request.mutable_alias()->set_target("collections/b");
  ExpectField(aliases_.UpdateAlias(request, &response, context_), "alias.name");
  request.mutable_alias()->set_name("aliases/x");
  request.set_expected_target("a");
  ExpectField(aliases_.UpdateAlias(request, &response, context_), "expected_target");
  request.set_expected_target("collections/a");
  request.set_allow_missing(true);
  ASSERT_TRUE(aliases_.UpdateAlias(request, &response, context_).ok());
  EXPECT_EQ(response.alias().target(), "collections/b");
  EXPECT_EQ(engine_.alias_update.id, "x");
  EXPECT_EQ(engine_.alias_update.expected_target, "a");
  EXPECT_TRUE(engine_.alias_update.allow_missing);
  engine_.failure = absl::AbortedError("moved");
  EXPECT_EQ(aliases_.UpdateAlias(request, &response, context_).code(), absl::StatusCode::kAborted);
}

TEST_F(AliasHandlersTest, GetListAndDelete) {
  v1::GetAliasRequest get;
  v1::GetAliasResponse got;
  get.set_name("aliases/none");
  EXPECT_EQ(aliases_.GetAlias(get, &got, context_).code(), absl::StatusCode::kNotFound);
  get.set_name("aliases/x");
  ASSERT_TRUE(aliases_.GetAlias(get, &got, context_).ok());
  EXPECT_EQ(got.alias().target(), "collections/real");

  engine_.aliases = {
      {.id = "a", .target = "t"}, {.id = "b", .target = "t"}, {.id = "c", .target = "t"}};
  v1::ListAliasesRequest list;
  list.set_page_size(2);
  std::string names;
  for (int pages = 1;; ++pages) {
    v1::ListAliasesResponse listed;
    ASSERT_TRUE(aliases_.ListAliases(list, &listed, context_).ok());
    for (const v1::Alias& alias : listed.aliases()) names += alias.name() + " ";
    list.set_page_token(listed.next_page_token());
    if (!list.page_token().empty()) continue;
    EXPECT_EQ(pages, 2);
    break;
  }
  EXPECT_EQ(names, "aliases/a aliases/b aliases/c ");
  list.set_page_token("x");
  v1::ListAliasesResponse listed;
  ExpectField(aliases_.ListAliases(list, &listed, context_), "page_token");

  v1::DeleteAliasRequest erase;
  v1::DeleteAliasResponse erased;
  erase.set_name("aliases/a");
  EXPECT_TRUE(aliases_.DeleteAlias(erase, &erased, context_).ok());
  engine_.failure = absl::NotFoundError("none");
  EXPECT_EQ(aliases_.DeleteAlias(erase, &erased, context_).code(), absl::StatusCode::kNotFound);
  erase.set_allow_missing(true);
  EXPECT_TRUE(aliases_.DeleteAlias(erase, &erased, context_).ok());
}

TEST_F(AliasHandlersTest, NamesLeadToTheCollection) {
  AliasNames names(engine_);
  const auto resolved = [&](std::string name) {
    names.Resolve(&name);
    return name;
  };
  EXPECT_EQ(resolved("collections/x"), "collections/real");
  EXPECT_EQ(resolved("collections/x/documents/collections/x/y"),
            "collections/real/documents/collections/x/y");
  EXPECT_EQ(resolved("collections/x/operations/1-2"), "collections/real/operations/1-2");
  for (const std::string same :
       {"collections/real", "collections/xx", "collections/", "collections//x", "x", "",
        "aliases/x", "Collections/x", "collections/real/documents/x"}) {
    EXPECT_EQ(resolved(same), same);
  }
  // One call, one answer.
  engine_.aliases[0].target = "other";
  EXPECT_EQ(resolved("collections/x"), "collections/real");
  std::string later = "collections/x";
  AliasNames(engine_).Resolve(&later);
  EXPECT_EQ(later, "collections/other");
}

// Through the table that the server runs.
class AliasMethodsTest : public AliasHandlersTest {
 protected:
  template <class Request, class Response>
  absl::Status Call(const std::string& path, const Request& request, Response* response) {
    grpc::ByteBuffer bytes, reply;
    absl::Status status = WriteMessage(request, 1 << 20, "", &bytes);
    if (status.ok()) status = methods_.at(path)(bytes, &reply, {});
    return status.ok() ? ReadMessage(reply, response) : status;
  }

  WorkerPool workers_{1, 1};
  Handlers handlers_{&engine_, &workers_, ServerFacts{}, 4 << 20};
  MethodTable methods_ = handlers_.Methods();
};

TEST_F(AliasMethodsTest, RepliesCarryTheNamesOfTheRealCollection) {
  engine_.documents["1"] = Stored("1");
  v1::GetCollectionRequest get;
  get.set_name("collections/x");
  v1::GetCollectionResponse collection;
  ASSERT_TRUE(Call("/vecino.v1.CollectionService/GetCollection", get, &collection).ok());
  EXPECT_EQ(collection.collection().name(), "collections/real");

  v1::GetDocumentRequest one;
  one.set_name("collections/x/documents/1");
  v1::GetDocumentResponse document;
  ASSERT_TRUE(Call("/vecino.v1.DocumentService/GetDocument", one, &document).ok());
  EXPECT_EQ(document.document().name(), "collections/real/documents/1");

  v1::UpdateDocumentRequest update;
  update.mutable_document()->set_name("collections/x/documents/1");
  update.mutable_document()->set_text("t");
  v1::UpdateDocumentResponse updated;
  ASSERT_TRUE(Call("/vecino.v1.DocumentService/UpdateDocument", update, &updated).ok());
  EXPECT_EQ(engine_.collection, "real");
  EXPECT_EQ(updated.document().name(), "collections/real/documents/1");

  v1::SearchDocumentsRequest search;
  search.set_parent("collections/x");
  search.set_text("t");
  engine_.search_result.hits.push_back({.document = Stored("1"), .score = 1});
  v1::SearchDocumentsResponse found;
  ASSERT_TRUE(Call("/vecino.v1.SearchService/SearchDocuments", search, &found).ok());
  EXPECT_EQ(engine_.collection, "real");
  EXPECT_EQ(found.hits(0).document().name(), "collections/real/documents/1");

  v1::BatchSearchDocumentsRequest batch;
  batch.set_parent("collections/x");
  *batch.add_requests() = search;
  v1::BatchSearchDocumentsResponse all;
  ASSERT_TRUE(Call("/vecino.v1.SearchService/BatchSearchDocuments", batch, &all).ok());
  ASSERT_EQ(all.results_size(), 1);
  EXPECT_EQ(all.results(0).status().code(), 0);
  EXPECT_EQ(all.results(0).response().hits(0).document().name(), "collections/real/documents/1");
}

// Names in one request lead to one collection, though the alias moves while it is read.
TEST_F(AliasMethodsTest, DocumentsOfABatchMayBeNamedByTheAlias) {
  v1::BatchUpsertDocumentsRequest batch;
  batch.set_parent("collections/x");
  for (const char* name : {"collections/x/documents/1", "collections/real/documents/2"}) {
    v1::Document& document = *batch.add_documents();
    document.set_name(name);
    document.set_text("t");
  }
  v1::BatchUpsertDocumentsResponse written;
  ASSERT_TRUE(Call("/vecino.v1.DocumentService/BatchUpsertDocuments", batch, &written).ok());
  EXPECT_EQ(engine_.alias_lookups, 2);  // `x` once, and `real`, which is none
  EXPECT_EQ(engine_.collection, "real");
  ASSERT_EQ(written.results_size(), 2);
  for (const auto& result : written.results()) EXPECT_EQ(result.status().code(), 0);
}

TEST_F(AliasMethodsTest, PageTokensAreOfTheCollectionAndNotOfTheAlias) {
  engine_.collections = {Info("other"), Info("real")};
  engine_.collections[0].etag = "1";
  engine_.collections[1].etag = "2";
  for (const char* id : {"1", "2", "3"}) engine_.documents[id] = Stored(id);
  v1::ListDocumentsRequest list;
  list.set_parent("collections/x");
  list.set_page_size(1);
  v1::ListDocumentsResponse page;
  const std::string path = "/vecino.v1.DocumentService/ListDocuments";
  ASSERT_TRUE(Call(path, list, &page).ok());
  list.set_page_token(page.next_page_token());
  ASSERT_TRUE(Call(path, list, &page).ok());
  EXPECT_EQ(page.documents(0).id(), "2");
  list.set_parent("collections/real");
  ASSERT_TRUE(Call(path, list, &page).ok());
  list.set_parent("collections/x");
  engine_.aliases[0].target = "other";
  ExpectField(Call(path, list, &page), "page_token");
}

TEST_F(AliasMethodsTest, DeletingACollectionTakesItsOwnName) {
  v1::DeleteCollectionRequest erase;
  erase.set_name("collections/x");
  v1::DeleteCollectionResponse erased;
  ASSERT_TRUE(Call("/vecino.v1.CollectionService/DeleteCollection", erase, &erased).ok());
  EXPECT_EQ(engine_.collection, "x");  // the engine refuses it
}

}  // namespace
}  // namespace vecino::rpc
