#include "storage/keys.h"

namespace vecino::storage {

std::string_view FamilyLabel(Family family) {
  return family == Family::kMeta ? "meta" : kFamilyNames[static_cast<size_t>(family)];
}

std::string MetaKey(MetaKind kind) {
  std::string key;
  AppendByte(kKeyVersion, &key);
  AppendByte(static_cast<uint8_t>(kind), &key);
  return key;
}

std::string MetaKey(MetaKind kind, uint32_t uid) {
  std::string key = MetaKey(kind);
  AppendBigEndian32(uid, &key);
  return key;
}

std::string MetaKey(MetaKind kind, uint32_t uid, uint16_t shard) {
  std::string key = MetaKey(kind, uid);
  AppendBigEndian16(shard, &key);
  return key;
}

std::string ExpiryKey(uint32_t uid, uint16_t shard, int64_t expire_time_us, uint64_t sequence) {
  std::string key = MetaKey(MetaKind::kExpiry, uid, shard);
  AppendBigEndian64(static_cast<uint64_t>(expire_time_us), &key);
  AppendBigEndian64(sequence, &key);
  return key;
}

std::string AliasKey(std::string_view id) {
  std::string key = MetaKey(MetaKind::kAlias);
  key.append(id);
  return key;
}

std::string OperationKey(uint32_t uid, uint64_t number) {
  std::string key = MetaKey(MetaKind::kOperation, uid);
  AppendBigEndian64(number, &key);
  return key;
}

std::string UidPrefix(uint32_t uid) {
  std::string key;
  AppendByte(kKeyVersion, &key);
  AppendBigEndian32(uid, &key);
  return key;
}

std::string ShardPrefix(uint32_t uid, uint16_t shard) {
  std::string key = UidPrefix(uid);
  AppendBigEndian16(shard, &key);
  return key;
}

std::string SequenceKey(uint32_t uid, uint16_t shard, uint64_t sequence) {
  std::string key = ShardPrefix(uid, shard);
  AppendBigEndian64(sequence, &key);
  return key;
}

std::string IdKey(uint32_t uid, uint16_t shard, std::string_view id) {
  std::string key = ShardPrefix(uid, shard);
  key.append(id);
  return key;
}

bool ParseMetaUid(std::string_view key, MetaKind kind, uint32_t* uid) {
  ByteReader reader(key);
  uint8_t version = 0;
  uint8_t stored_kind = 0;
  return reader.ReadByte(&version) && version == kKeyVersion && reader.ReadByte(&stored_kind) &&
         stored_kind == static_cast<uint8_t>(kind) && reader.ReadBigEndian32(uid) && reader.done();
}

bool ParseAliasKey(std::string_view key, std::string_view* id) {
  const std::string prefix = MetaKey(MetaKind::kAlias);
  if (!key.starts_with(prefix) || key.size() == prefix.size()) return false;
  *id = key.substr(prefix.size());
  return true;
}

bool ParseOperationKey(std::string_view key, uint32_t* uid, uint64_t* number) {
  const std::string prefix = MetaKey(MetaKind::kOperation);
  if (!key.starts_with(prefix)) return false;
  ByteReader reader(key.substr(prefix.size()));
  return reader.ReadBigEndian32(uid) && reader.ReadBigEndian64(number) && reader.done();
}

bool ParseSequence(std::string_view key, uint64_t* sequence) {
  if (key.size() != kShardPrefixBytes + sizeof(uint64_t)) return false;
  return ByteReader(key.substr(kShardPrefixBytes)).ReadBigEndian64(sequence);
}

bool ParseExpiry(std::string_view key, int64_t* expire_time_us, uint64_t* sequence) {
  constexpr size_t kPrefixBytes = 2 + sizeof(uint32_t) + sizeof(uint16_t);
  if (key.size() != kPrefixBytes + 2 * sizeof(uint64_t)) return false;
  ByteReader reader(key.substr(kPrefixBytes));
  uint64_t time = 0;
  if (!reader.ReadBigEndian64(&time) || !reader.ReadBigEndian64(sequence)) return false;
  *expire_time_us = static_cast<int64_t>(time);
  return *expire_time_us > 0 && *sequence > 0;
}

std::string PrefixEnd(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && static_cast<uint8_t>(end.back()) == 0xff) end.pop_back();
  if (!end.empty()) end.back() = static_cast<char>(end.back() + 1);
  return end;
}

}  // namespace vecino::storage
