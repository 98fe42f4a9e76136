// Many shards written and read at once. Run under ThreadSanitizer too.
#include <atomic>
#include <latch>
#include <thread>

#include "absl/status/status.h"
#include "store_fixture.h"

namespace vecino::storage {
namespace {

class ConcurrencyTest : public StoreFixture {};

TEST_F(ConcurrencyTest, ShardsAreWrittenAndReadAtOnce) {
  constexpr uint32_t kShards = 4;
  constexpr uint64_t kBatches = 60;
  constexpr uint64_t kBatch = 5;
  ASSERT_OK(Open());
  const auto uid = store_->AddCollection(MakeRecord("c", kShards));
  ASSERT_OK(uid);
  std::vector<std::unique_ptr<ShardLog>> logs;
  for (uint32_t shard = 0; shard < kShards; ++shard) {
    auto log = store_->OpenShard(*uid, shard, kDimension);
    ASSERT_OK(log);
    logs.push_back(*std::move(log));
  }
  std::latch start(kShards + 3);
  std::atomic<uint32_t> writing{kShards};
  std::vector<std::thread> threads;
  for (uint32_t shard = 0; shard < kShards; ++shard) {
    threads.emplace_back([&, shard] {
      start.arrive_and_wait();
      ShardLog& log = *logs[shard];
      for (uint64_t batch = 0; batch < kBatches; ++batch) {
        // Each batch replaces the whole of the batch before.
        std::vector<Mutation> mutations;
        for (uint64_t i = 0; i < kBatch; ++i) {
          const uint64_t sequence = batch * kBatch + i + 1;
          mutations.push_back(
              Put(sequence, "id" + std::to_string(i), batch == 0 ? 0 : sequence - kBatch));
        }
        EXPECT_OK(log.Append(mutations));
        EXPECT_EQ(log.LastSequence(), (batch + 1) * kBatch);
        if (batch % 20 == 19) EXPECT_OK(log.TrimChanges(batch * kBatch));
        EXPECT_OK(log.PutManifest(std::to_string(batch)));
      }
      writing.fetch_sub(1);
    });
  }
  // A batch is there as a whole or not at all, whenever one looks.
  for (int reader = 0; reader < 2; ++reader) {
    threads.emplace_back([&] {
      start.arrive_and_wait();
      do {
        for (const auto& log : logs) {
          const std::vector<uint64_t> live = Scan(*log);
          EXPECT_TRUE(live.empty() || (live.size() == kBatch && live[0] % kBatch == 1 &&
                                       live.back() == live[0] + kBatch - 1));
          const auto documents = log->GetDocuments(live, {.vector = true});
          ASSERT_OK(documents);
          for (size_t i = 0; i < live.size(); ++i) {
            if ((*documents)[i].has_value()) {
              EXPECT_EQ((*documents)[i]->vector, MakeVector(live[i]));
            }
          }
          EXPECT_LE(*log->CountIds(), kBatch);
          EXPECT_LE(log->ListIds("", 10)->size(), kBatch);
        }
      } while (writing.load() > 0);
    });
  }
  // Collections come and go meanwhile.
  threads.emplace_back([&] {
    start.arrive_and_wait();
    do {
      const auto other = store_->AddCollection(MakeRecord("other"));
      ASSERT_OK(other);
      auto log = store_->OpenShard(*other, 0, kDimension);
      ASSERT_OK(log);
      EXPECT_OK((*log)->Append(std::vector<Mutation>{Put(1, "a")}));
      std::thread late([&] {
        const absl::Status status = (*log)->Append(std::vector<Mutation>{Put(2, "b")});
        EXPECT_TRUE(status.ok() || absl::IsNotFound(status)) << status.ToString();
      });
      EXPECT_OK(store_->DropCollection(*other));
      late.join();
      EXPECT_EQ(store_->ListCollections()->size(), 1u);
    } while (writing.load() > 0);
  });
  for (std::thread& thread : threads) thread.join();

  logs.clear();
  store_.reset();
  ASSERT_OK(Open());
  for (uint32_t shard = 0; shard < kShards; ++shard) {
    const auto log = store_->OpenShard(*uid, shard, kDimension);
    ASSERT_OK(log);
    EXPECT_EQ((*log)->LastSequence(), kBatches * kBatch);
    EXPECT_EQ(Scan(**log).size(), kBatch);
    EXPECT_EQ(*(*log)->GetManifest(), std::to_string(kBatches - 1));
  }
  EXPECT_EQ(Warnings(), "");
}

}  // namespace
}  // namespace vecino::storage
