#include "server/engine/hit_groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vecino::engine {
namespace {

using testing::ElementsAre;

TEST(HitGroupsTest, KeepsTheFirstOfTheFirst) {
  HitGroups groups(2, 2);
  groups.Add(0, "a");
  groups.Add(1, "a");
  groups.Add(2, "a");
  EXPECT_FALSE(groups.has_all());
  groups.Add(3, "b");
  EXPECT_TRUE(groups.has_all());
  EXPECT_FALSE(groups.full());
  groups.Add(4, "c");
  groups.Add(5, GroupValue());
  EXPECT_FALSE(groups.full());
  groups.Add(6, "b");
  EXPECT_TRUE(groups.full());
  groups.Add(7, "b");
  ASSERT_EQ(groups.groups().size(), 2u);
  EXPECT_EQ(groups.groups()[0].value, GroupValue("a"));
  EXPECT_THAT(groups.groups()[0].hits, ElementsAre(0, 1));
  EXPECT_THAT(groups.groups()[1].hits, ElementsAre(3, 6));
}

TEST(HitGroupsTest, HitsWithoutAValueAreGroupsOfTheirOwn) {
  HitGroups groups(3, 5);
  groups.Add(0, GroupValue());
  groups.Add(1, GroupValue());
  EXPECT_FALSE(groups.full());
  groups.Add(2, GroupValue());
  EXPECT_TRUE(groups.full());  // none of them takes another
}

TEST(HitGroupsTest, ValuesOfDifferentKindsDiffer) {
  HitGroups groups(10, 1);
  for (const GroupValue& value :
       {GroupValue("1"), GroupValue(1.0), GroupValue(true), GroupValue("true"), GroupValue(""),
        GroupValue(0.0), GroupValue(false), GroupValue("t"), GroupValue("f")}) {
    groups.Add(0, value);
    groups.Add(1, value);
  }
  EXPECT_EQ(groups.groups().size(), 9u);
  EXPECT_FALSE(groups.has_all());
}

}  // namespace
}  // namespace vecino::engine
