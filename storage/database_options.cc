#include "storage/database_options.h"

#include <memory>

#include "rocksdb/cache.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/table.h"
#include "storage/info_log.h"

namespace vecino::storage {
namespace {

constexpr int kBloomBitsPerKey = 10;  // about 1% false positives
constexpr size_t kSmallBlockBytes = 4u << 10;
constexpr size_t kRowBlockBytes = 16u << 10;

}  // namespace

rocksdb::DBOptions MakeDBOptions(const StoreOptions& options) {
  rocksdb::DBOptions db;
  db.create_if_missing = true;

  // Damage must stop the opening, not shorten the log. The default, kPointInTimeRecovery, silently
  // drops everything after the first damaged record.
  db.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  db.track_and_verify_wals_in_manifest = true;
  db.paranoid_checks = true;
  db.recycle_log_file_num = 0;  // recycled logs hide damage: what follows looks like an older log

  // Database::BeginLog keeps the log to about one write buffer, which is what a start after a crash
  // replays. Here RocksDB would begin a log of its own accord, which that says not to be wanted.
  db.max_total_wal_size = 4 * options.write_buffer_bytes;

  // Errors that pass by themselves are those of a full disk only, and these are the file manager's:
  // MakeRecoveringFileManager.
  db.max_bgerror_resume_count = 0;
  // Database::KeepMemory writes past the log; a close is not to flush, and perhaps wait, for that.
  db.avoid_flush_during_shutdown = true;

  db.max_background_jobs = options.background_threads;
  db.max_open_files = 512;  // half of the usual limit of 1,024, which sockets share
  db.bytes_per_sync =
      1u << 20;  // compactions must not save their dirty pages up for one long stall

  db.info_log = std::make_shared<InfoLog>(options.path + "/LOG");
  db.keep_log_file_num = 4;  // of those that RocksDB's own logger left
  db.stats_dump_period_sec = 0;
  db.stats_persist_period_sec = 0;
  return db;
}

std::array<rocksdb::ColumnFamilyOptions, kFamilyCount> MakeFamilyOptions(
    const StoreOptions& options) {
  const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(options.block_cache_bytes);
  std::array<rocksdb::ColumnFamilyOptions, kFamilyCount> families;
  for (size_t i = 0; i < kFamilyCount; ++i) {
    const Family family = static_cast<Family>(i);
    rocksdb::ColumnFamilyOptions& cf = families[i];
    cf.write_buffer_size = options.write_buffer_bytes;
    cf.level_compaction_dynamic_level_bytes = true;  // at most about 11% of dead rows on disk
    cf.compression = rocksdb::kLZ4Compression;
    cf.force_consistency_checks = true;

    rocksdb::BlockBasedTableOptions table;
    table.block_cache = cache;
    table.block_size = kSmallBlockBytes;
    table.format_version = 5;
    if (family == Family::kDocuments) {
      table.block_size = kRowBlockBytes;
      cf.bottommost_compression = rocksdb::kZSTD;
    } else if (family == Family::kVectors) {
      table.block_size = kRowBlockBytes;
      cf.compression =
          rocksdb::kNoCompression;  // mantissas are noise: ZSTD saves 8% and costs the scan
    }
    // Files of level 0 overlap whenever several shards are written, so point reads need filters.
    if (family == Family::kDocuments || family == Family::kVectors || family == Family::kIds) {
      table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
    }
    cf.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  }
  return families;
}

}  // namespace vecino::storage
