// The handlers over a fake engine, for the tests of this folder.
#pragma once

#include "server/rpc/admin_handlers.h"
#include "server/rpc/collection_handlers.h"
#include "server/rpc/document_handlers.h"
#include "server/rpc/embedding_handlers.h"
#include "server/rpc/operation_handlers.h"
#include "server/rpc/search_handlers.h"
#include "tests/server/rpc/expect_field.h"
#include "tests/server/rpc/fake_engine.h"

namespace vecino::rpc {

inline engine::CollectionInfo Info(const std::string& id) {
  engine::CollectionInfo info;
  info.spec.id = id;
  info.spec.dimension = 3;
  return info;
}

inline storage::Document Stored(const std::string& id, const std::string& text = "t") {
  storage::Document document;
  document.id = id;
  document.text = text;
  document.sequence = 9;
  return document;
}

class HandlersTest : public testing::Test {
 protected:
  HandlersTest() {
    engine_.write = [](size_t i, const engine::DocumentWrite&) {
      engine::WriteResult result;
      result.token = {1, 100 + i};
      result.token_count = 5;
      result.create_time_us = 1000000;
      result.update_time_us = 2000000;
      return result;
    };
    engine_.erase = [](const std::string& id) {
      engine::WriteResult result;
      if (id == "missing") result.status = absl::NotFoundError("gone");
      result.token = {0, 7};
      return result;
    };
  }

  FakeEngine engine_;
  engine::CallContext context_;
  CollectionHandlers collections_{&engine_};
  OperationHandlers operations_{&engine_};
  DocumentHandlers documents_{&engine_, 4 << 20};
  SearchHandlers search_{&engine_, 4 << 20};
  EmbeddingHandlers embedding_{&engine_, 4 << 20};
};

}  // namespace vecino::rpc
