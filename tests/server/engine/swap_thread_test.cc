#include "server/engine/swap_thread.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace vecino::engine {
namespace {

TEST(SwapThread, RunsOneAtATimeOnAThreadOfItsOwn) {
  SwapThread swaps;
  int count = 0;  // guarded by being run one at a time
  std::thread::id on;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int j = 0; j < 500; ++j) {
        bool ran = false;
        swaps.Run([&] {
          ++count;
          ran = true;
          on = std::this_thread::get_id();
        });
        EXPECT_TRUE(ran);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(count, 2000);
  EXPECT_NE(on, std::this_thread::get_id());
}

}  // namespace
}  // namespace vecino::engine
