#include "storage/codec.h"

#include <gtest/gtest.h>

#include <limits>

#include "storage/crc32c.h"
#include "storage/keys.h"

namespace vecino::storage {
namespace {

TEST(CodecTest, VarintsRoundTripAtEveryLength) {
  for (int bit = 0; bit < 64; ++bit) {
    for (const uint64_t value :
         {(uint64_t{1} << bit) - 1, uint64_t{1} << bit, ~uint64_t{0} >> bit}) {
      std::string bytes;
      AppendVarint(value, &bytes);
      EXPECT_EQ(bytes.size(), value == 0 ? 1 : (64 - __builtin_clzll(value) + 6) / 7);
      uint64_t read = 0;
      ByteReader reader(bytes);
      EXPECT_TRUE(reader.ReadVarint(&read));
      EXPECT_TRUE(reader.done());
      EXPECT_EQ(read, value);
      for (size_t cut = 0; cut < bytes.size(); ++cut) {
        EXPECT_FALSE(ByteReader(std::string_view(bytes).substr(0, cut)).ReadVarint(&read));
      }
    }
  }
}

TEST(CodecTest, SignedVarintsRoundTrip) {
  for (const int64_t value :
       {int64_t{0}, int64_t{-1}, int64_t{1}, int64_t{1'700'000'000'000'000},
        std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}) {
    std::string bytes;
    AppendSignedVarint(value, &bytes);
    int64_t read = 7;
    EXPECT_TRUE(ByteReader(bytes).ReadSignedVarint(&read));
    EXPECT_EQ(read, value);
  }
}

TEST(CodecTest, RefusesVarintsThatAreTooLong) {
  uint64_t value = 0;
  EXPECT_FALSE(ByteReader(std::string("\x80\x00", 2)).ReadVarint(&value));  // 0 in two bytes
  EXPECT_FALSE(ByteReader(std::string(9, '\xff') + '\x02').ReadVarint(&value));
  EXPECT_FALSE(ByteReader(std::string(11, '\xff')).ReadVarint(&value));
}

TEST(CodecTest, BytesWithLengthBeyondTheEndAreRefusedAndNothingIsConsumed) {
  std::string bytes;
  AppendBytes("abc", &bytes);
  std::string_view value;
  ByteReader cut(std::string_view(bytes).substr(0, 3));
  EXPECT_FALSE(cut.ReadBytes(&value));
  EXPECT_EQ(cut.rest().size(), 3u);
  ByteReader whole(bytes);
  EXPECT_TRUE(whole.ReadBytes(&value));
  EXPECT_EQ(value, "abc");
}

TEST(KeysTest, ByteOrderIsNumberOrder) {
  EXPECT_LT(SequenceKey(1, 0, 255), SequenceKey(1, 0, 256));
  EXPECT_LT(SequenceKey(1, 0, ~uint64_t{0}), SequenceKey(1, 1, 0));
  EXPECT_LT(SequenceKey(1, 65535, ~uint64_t{0}), SequenceKey(2, 0, 0));
  EXPECT_LT(SequenceKey(255, 0, 0), SequenceKey(256, 0, 0));
}

TEST(KeysTest, PrefixEndIsAfterEveryKeyWithThePrefixAndBeforeTheNext) {
  for (const uint32_t uid : {1u, 0xffu, 0xffffu, 0xfffffffeu, 0xffffffffu}) {
    const std::string end = PrefixEnd(UidPrefix(uid));
    EXPECT_LT(SequenceKey(uid, 0xffff, ~uint64_t{0}), end);
    if (uid != 0xffffffffu) {
      EXPECT_LE(end, SequenceKey(uid + 1, 0, 0));
    }
  }
}

TEST(Crc32cTest, KnownValues) {  // RFC 3720, B.4
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
}

}  // namespace
}  // namespace vecino::storage
