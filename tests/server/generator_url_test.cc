#include "server/generator_url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vecino {
namespace {

using testing::HasSubstr;

TEST(GeneratorUrlTest, Parts) {
  const auto parse = [](const char* text) {
    const auto url = ParseGeneratorUrl(text);
    EXPECT_TRUE(url.ok()) << text << ": " << url.status();
    return url.ok() ? *url : GeneratorUrl{};
  };
  GeneratorUrl url = parse("http://127.0.0.1:8080");
  EXPECT_FALSE(url.tls);
  EXPECT_EQ(url.host, "127.0.0.1");
  EXPECT_EQ(url.port, 8080);
  EXPECT_EQ(url.path, "");
  EXPECT_EQ(url.text, "http://127.0.0.1:8080");
  url = parse("https://api.example.com/openai/v1/");
  EXPECT_TRUE(url.tls);
  EXPECT_EQ(url.port, 443);
  EXPECT_EQ(url.path, "/openai");
  EXPECT_EQ(url.Authority(), "api.example.com");
  EXPECT_EQ(url.text, "https://api.example.com/openai");
  url = parse("http://[fe80::1]:81/");
  EXPECT_EQ(url.host, "fe80::1");
  EXPECT_EQ(url.Authority(), "[fe80::1]:81");
  EXPECT_EQ(parse("http://[::1]").text, "http://[::1]");
  EXPECT_EQ(parse("http://h/v1").path, "");
  EXPECT_EQ(parse("http://h:80").Authority(), "h");
  EXPECT_EQ(parse("https://h:80").Authority(), "h:80");
}

TEST(GeneratorUrlTest, WhatIsWrongIsSaid) {
  const auto refused = [](std::string_view text, const char* why) {
    const auto url = ParseGeneratorUrl(text);
    ASSERT_FALSE(url.ok()) << text;
    EXPECT_THAT(std::string(url.status().message()), HasSubstr(why)) << text;
  };
  refused("127.0.0.1:8080", "http://");
  refused("ftp://h", "http://");
  refused("", "http://");
  refused("http://", "host");
  refused("http://:80", "host");
  refused("http://h:0", "port");
  refused("http://h:65536", "port");
  refused("http://h:", "port");
  refused("http://h:8x", "port");
  refused("http://[::1", "]");
  refused("http://[::1]8", "port");
  refused("http://::1", "names no host");
  refused("http://user:secret@h", "password");
  refused("http://h/?key=secret", "?");
  refused("http://h/\r\nX: y", "control");
  refused("http://h ", "white space");
}

}  // namespace
}  // namespace vecino
