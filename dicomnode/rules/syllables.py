"""Chinese names in Latin letters, and ideographs in two shapes: what is written differently and is one.

Each line of SPELLINGS is one syllable as Hong Kong, Macau, Taiwan or the south-east writes it, and after the colon
what it is in Hanyu Pinyin, the commonest ones in names. The same letters may stand for several. SHAPES pairs the
simplified with the traditional ideograph. Incomplete by nature: what is missing makes a person look.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

SPELLINGS: Final = """
au ou: ou qu
chan tan chen: chen
chan: zhan can
chang: zhang chang
chau chow chou: zhou
che: xie che
cheng chang: zheng
cheng tseng: zeng
cheung cheong chang: zhang
cheung: xiang chang
chi: zhi ji qi zi ci
chin: qian zhan
ching tsing: qing jing zheng cheng
chiu chao: zhao
chiu: chao qiu
cho: zuo cao chu
choi choy tsai: cai
chow tsao: cao
choy: cai
chu: zhu
chuen: quan chuan
chui: xu cui
chun: jun zhen qin chun
chung: zhong cong song
fai: hui
fan: fan fen
fok: huo fu
fong: fang
foo fu: fu
fook fuk: fu
fung: feng
gee: ji
ha: xia
hang: hang heng xing
hau: hou xiao
heung: xiang
hin: xuan xian
hing: xing qing
hiu: xiao
ho: he hao ke
hoi: hai kai
hok: xue he
hon: han
hong: kang hang
hou: hao
hsia: xia
hsiao: xiao
hsieh: xie
hsin: xin
hsing: xing
hsiung: xiong
hsu hui hoi: xu
hsueh: xue
hua: hua
hui: xu
hung: hong xiong kong
ip yip yap: ye
ka: jia
kai: qi ji jie
kam: jin gan jian
kan: jian jin gan
kei: qi ji
keung keong: qiang jiang
ki: qi ji
kin: jian
king: jing qiong
kit: jie
kiu: qiao jiao
ko: gao ge
kok: guo jue
kong: jiang guang gang
koo: gu
ku: gu
kuen: quan juan
kuk: ju gu
kung: gong
kuo: guo
kwai: gui
kwan: guan jun kun
kwok kuok: guo
kwong: guang kuang
kwun: guan
lai: li lai
lam lim lum: lin lan
lan: lan lian
lau lao low: liu
law lo: luo
lee lei li: li
leung leong liong: liang
li: li
lim: lian lin
lin: lian lin
ling: ling
lo: lu lao
lok: le luo
lui: lei
lui loi: lu lv
luk: lu liu
lun: lian lun
lung: long
lu lv lyu: lu lv
ma: ma
mak: mai mo
man: wen min man
mau: mao
mei: mei wei
mi: mi
ming: ming
miu: miao
mo: wu mao
mok: mo
mui: mei
mun: min men man
na: na
nam: nan lan
nang: neng
ng ung: wu
ngai: wei yi
ngan: yan yin
ngar: ya
ngo: ao e
ngok: e yue le
ning: ning
o: ke
on: an
or: ke
pak: bai bo
pan poon: pan
pang: peng
pat: bi
pik: bi
ping: ping bing
pit: bi
po: bao bu pu
pui: pei bei
sai: shi xi
sam: shen sen san
san: shan xin
sau: xiu shou
sek shek: shi
seung: shuang shang xiang
sheung: shang shuang
shiu siu: shao xiao zhao
shu: shu
shuk: shu
shum sum: shen cen
shun: shun chun
shung: chong
si: shi si
sik: shi xi
sin: xian shan qian
sing: sheng cheng xing
sit: xue
siu: xiao
so: su
suen suan: sun xuan
sui: rui shui sui
suk: shu
sum: xin shen
sun: xin chen shun
sung: song chong
sze: shi si
szeto: situ
ta: da
tai: dai da tai di
tak: de
tam tham: tan
tan: dan tan
tang: deng
tao: dao tao
tat: da
tham: tan
tien: tian
tim: tian
tin: tian dian
ting: ding ting
tip: die
to: du tao
tong: tang dong
tsai: cai
tsam: zhan
tsang tseng: zeng
tsao: cao
tse: xie
tseng: zeng
tsoi choi: cai
tso: cao zuo
tsui: xu cui
tsz: zi ci zhi
tuen: duan
tung: dong tong
wa wah: hua
wah: hua
wai: wei hui hua
wan: yun wen yin huan
wing: yong rong ying
wo: he
wong: wang huang
woo: hu
wu: hu wu
wui: hui
wun: huan
yam: ren yin
yan: ren xin yin en yan
yau yao: qiu you
yee: yi er
yeh: ye
yeung yong: yang
yi: yi er
yik: yi
yim: yan
yin: yan xian ran
yiu: yao rao
yu: yu ru
yuen: yuan ruan wan
yuet: yue
yuk: yu
yun: run yun ren
yung: rong yong weng
"""
SHAPES: Final = (
    "陈陳 张張 刘劉 赵趙 黄黃 吴吳 杨楊 罗羅 郑鄭 谢謝 许許 邓鄧 冯馮 萧蕭 叶葉 苏蘇 卢盧 钟鍾 钟鐘 谭譚 "
    "陆陸 贾賈 韦韋 邹鄒 阎閻 严嚴 龙龍 区區 单單 庄莊 颜顏 关關 蒋蔣 孙孫 马馬 卫衛 余餘 汤湯 顾顧 龚龔 "
    "万萬 钱錢 车車 欧歐 鲁魯 国國 华華 伟偉 强強 东東 军軍 丽麗 兰蘭 凤鳳 云雲 红紅 荣榮 庆慶 宝寶 贵貴 "
    "业業 义義 乐樂 爱愛 莲蓮 莹瑩 颖穎 艳艷 静靜 晓曉 欢歡 杰傑 志誌 银銀 锋鋒 铭銘 锦錦 键鍵 诗詩 诚誠 "
    "谦謙 贤賢 辉輝 达達 远遠 飞飛 鸿鴻 鹏鵬 胜勝 刚剛 勋勳 启啟 启啓 坚堅 婵嬋 嫔嬪 学學 宁寧 实實 宪憲 "
    "帅帥 广廣 彦彥 忆憶 恺愷 显顯 泽澤 润潤 涛濤 灵靈 灿燦 炜煒 玛瑪 环環 琼瓊 画畫 硕碩 祯禎 经經 纯純 "
    "维維 绍紹 绮綺 缘緣 聪聰 苇葦 芦蘆 萤螢 蓝藍 让讓 轩軒 迁遷 进進 逊遜 长長 阳陽 雏雛 雾霧 韵韻 顺順 "
    "齐齊 娴嫻 娱娛 镇鎮 钧鈞 钰鈺 铃鈴 骏駿 汉漢 济濟 洁潔 为為 为爲 "
)


def _read() -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    variants, readings = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for line in SPELLINGS.strip().split("\n"):
        spellings, _, pinyin = line.partition(":")
        for spelling in spellings.split():
            variants[spelling].update(spellings.split())
            readings[spelling].update(pinyin.split())
    return _frozen(variants), _frozen(readings)


def _frozen(found: dict[str, set[str]]) -> dict[str, frozenset[str]]:
    return {each: frozenset(others) for each, others in found.items()}


VARIANTS, READINGS = _read()
"""A syllable → how else it is spelled in the same way of writing, and what it may be in Hanyu Pinyin."""
SYLLABLES: Final = frozenset(READINGS).union(*READINGS.values())
"""All of either."""
SIMPLIFIED: Final = {pair[1]: pair[0] for pair in SHAPES.split()}
"""A traditional ideograph → the simplified one."""
